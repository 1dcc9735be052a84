//! Formats of dates and times: MySQL's (`%Y-%m-%d`) and Joda's (`yyyy-MM-dd`), compiled to one list of items.

use chrono::{Datelike, NaiveDate, NaiveDateTime, NaiveTime, Timelike, Weekday};
use datafusion::error::Result;

use crate::dates::Zone;
use crate::scalar::bad;

/// A compiled format.
#[derive(Debug)]
pub(crate) struct Format {
    items: Vec<Item>,
}

#[derive(Debug, Clone, PartialEq)]
enum Item {
    Text(String),
    /// A field, the least digits written, and the most digits read.
    Field(Field, usize, usize),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Field {
    Era,
    Century,
    Year,
    /// The last two digits.
    Year2,
    WeekYear,
    Week,
    DayOfYear,
    Month,
    MonthShort,
    MonthLong,
    Day,
    Weekday,
    WeekdayShort,
    WeekdayLong,
    HalfDay,
    /// 1 to 12.
    Hour12,
    /// 0 to 11.
    Hour11,
    Hour,
    /// 1 to 24.
    Hour24,
    Minute,
    Second,
    Fraction,
    ZoneName,
    /// `+0100`, or with a colon.
    ZoneOffset,
    ZoneOffsetColon,
}

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
const WEEKDAYS: [&str; 7] = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"];

impl Field {
    fn is_number(self) -> bool {
        !matches!(
            self,
            Self::Era
                | Self::MonthShort
                | Self::MonthLong
                | Self::WeekdayShort
                | Self::WeekdayLong
                | Self::HalfDay
                | Self::ZoneName
                | Self::ZoneOffset
                | Self::ZoneOffsetColon
        )
    }
}

impl Format {
    /// Compiles MySQL's format.
    pub(crate) fn mysql(text: &str) -> Result<Self> {
        let mut items = Vec::new();
        let mut letters = text.chars();
        while let Some(letter) = letters.next() {
            if letter != '%' {
                push_text(&mut items, letter);
                continue;
            }
            let Some(letter) = letters.next() else { return Err(bad(format!("the format '{text}' ends in %"))) };
            let fields: &[(Field, usize, usize)] = match letter {
                'Y' => &[(Field::Year, 4, 4)],
                'y' => &[(Field::Year2, 2, 2)],
                'm' => &[(Field::Month, 2, 2)],
                'c' => &[(Field::Month, 1, 2)],
                'M' => &[(Field::MonthLong, 0, 0)],
                'b' => &[(Field::MonthShort, 0, 0)],
                'd' => &[(Field::Day, 2, 2)],
                'e' => &[(Field::Day, 1, 2)],
                'j' => &[(Field::DayOfYear, 3, 3)],
                'a' => &[(Field::WeekdayShort, 0, 0)],
                'W' => &[(Field::WeekdayLong, 0, 0)],
                'H' => &[(Field::Hour, 2, 2)],
                'k' => &[(Field::Hour, 1, 2)],
                'h' | 'I' => &[(Field::Hour12, 2, 2)],
                'l' => &[(Field::Hour12, 1, 2)],
                'i' => &[(Field::Minute, 2, 2)],
                's' | 'S' => &[(Field::Second, 2, 2)],
                'f' => &[(Field::Fraction, 6, 9)],
                'p' => &[(Field::HalfDay, 0, 0)],
                'v' => &[(Field::Week, 2, 2)],
                'x' => &[(Field::WeekYear, 4, 4)],
                'r' | 'T' => {
                    let hour = if letter == 'T' { Field::Hour } else { Field::Hour12 };
                    items.push(Item::Field(hour, 2, 2));
                    for field in [Field::Minute, Field::Second] {
                        push_text(&mut items, ':');
                        items.push(Item::Field(field, 2, 2));
                    }
                    if letter == 'T' {
                        continue;
                    }
                    push_text(&mut items, ' ');
                    &[(Field::HalfDay, 0, 0)]
                }
                'D' | 'U' | 'u' | 'V' | 'w' | 'X' => {
                    return Err(bad(format!("%{letter} is not supported in a date format")));
                }
                other => {
                    push_text(&mut items, other);
                    &[]
                }
            };
            items.extend(fields.iter().map(|(field, least, most)| Item::Field(*field, *least, *most)));
        }
        Ok(Self { items })
    }

    /// Compiles Joda's pattern.
    pub(crate) fn joda(text: &str) -> Result<Self> {
        let letters: Vec<char> = text.chars().collect();
        let (mut items, mut at) = (Vec::new(), 0);
        while at < letters.len() {
            let letter = letters[at];
            if letter == '\'' {
                at = quoted(&letters, at, &mut items)?;
                continue;
            }
            if !letter.is_ascii_alphabetic() {
                push_text(&mut items, letter);
                at += 1;
                continue;
            }
            let count = letters[at..].iter().take_while(|other| **other == letter).count();
            at += count;
            let field = joda_field(letter, count)
                .ok_or_else(|| bad(format!("'{letter}' is not supported in the pattern '{text}'")))?;
            items.push(Item::Field(field, count, 9));
        }
        // Adjacent numbers are separated by their widths.
        for index in 1..items.len() {
            if let (Item::Field(a, least, most), Item::Field(b, ..)) = (items[index - 1].clone(), items[index].clone())
                && a.is_number()
                && b.is_number()
            {
                items[index - 1] = Item::Field(a, least, most.min(least));
            }
        }
        Ok(Self { items })
    }

    /// Writes a timestamp, given its local time in its zone.
    pub(crate) fn write(&self, local: NaiveDateTime, offset_seconds: i32, zone: &str) -> String {
        let mut out = String::new();
        for item in &self.items {
            match item {
                Item::Text(text) => out.push_str(text),
                Item::Field(field, width, _) => out.push_str(&written(*field, *width, local, offset_seconds, zone)),
            }
        }
        out
    }

    /// Reads a whole text.
    pub(crate) fn read(&self, text: &str) -> Result<Moment> {
        let wrong = || bad(format!("'{text}' does not have the form of the format"));
        let (mut found, mut rest) = (Found::default(), text);
        for item in &self.items {
            rest = match item {
                Item::Text(expected) => rest.strip_prefix(expected.as_str()).ok_or_else(wrong)?,
                Item::Field(field, _, most) => found.take(*field, *most, rest).ok_or_else(wrong)?,
            };
        }
        if !rest.is_empty() {
            return Err(wrong());
        }
        found.moment().ok_or_else(|| bad(format!("'{text}' is no date or time")))
    }
}

fn push_text(items: &mut Vec<Item>, letter: char) {
    match items.last_mut() {
        Some(Item::Text(text)) => text.push(letter),
        _ => items.push(Item::Text(letter.to_string())),
    }
}

/// `'text'`, and `''` for a quote.
fn quoted(letters: &[char], start: usize, items: &mut Vec<Item>) -> Result<usize> {
    let mut at = start + 1;
    if letters.get(at) == Some(&'\'') {
        push_text(items, '\'');
        return Ok(at + 1);
    }
    loop {
        match (letters.get(at), letters.get(at + 1)) {
            (Some('\''), Some('\'')) => {
                push_text(items, '\'');
                at += 2;
            }
            (Some('\''), _) => return Ok(at + 1),
            (Some(letter), _) => {
                push_text(items, *letter);
                at += 1;
            }
            (None, _) => return Err(bad("a quote in the pattern is not closed")),
        }
    }
}

fn joda_field(letter: char, count: usize) -> Option<Field> {
    Some(match (letter, count) {
        ('G', _) => Field::Era,
        ('C', _) => Field::Century,
        ('y' | 'Y', 2) => Field::Year2,
        ('y' | 'Y', _) => Field::Year,
        ('x', _) => Field::WeekYear,
        ('w', _) => Field::Week,
        ('e', _) => Field::Weekday,
        ('E', 1..=3) => Field::WeekdayShort,
        ('E', _) => Field::WeekdayLong,
        ('D', _) => Field::DayOfYear,
        ('M', 1..=2) => Field::Month,
        ('M', 3) => Field::MonthShort,
        ('M', _) => Field::MonthLong,
        ('d', _) => Field::Day,
        ('a', _) => Field::HalfDay,
        ('K', _) => Field::Hour11,
        ('h', _) => Field::Hour12,
        ('H', _) => Field::Hour,
        ('k', _) => Field::Hour24,
        ('m', _) => Field::Minute,
        ('s', _) => Field::Second,
        ('S', _) => Field::Fraction,
        ('Z', 1) => Field::ZoneOffset,
        ('Z', 2) => Field::ZoneOffsetColon,
        ('Z' | 'z', _) => Field::ZoneName,
        _ => return None,
    })
}

fn written(field: Field, width: usize, local: NaiveDateTime, offset: i32, zone: &str) -> String {
    let number = |value: i64| if value < 0 { format!("-{:0>width$}", -value) } else { format!("{value:0>width$}") };
    let (date, hour) = (local.date(), local.hour());
    let month = MONTHS[local.month0() as usize];
    let weekday = WEEKDAYS[date.weekday().num_days_from_monday() as usize];
    match field {
        Field::Era => {
            if date.year() > 0 {
                "AD".to_owned()
            } else {
                "BC".to_owned()
            }
        }
        Field::Century => number((date.year() / 100).into()),
        Field::Year => number(date.year().into()),
        Field::Year2 => format!("{:02}", date.year().rem_euclid(100)),
        Field::WeekYear => number(date.iso_week().year().into()),
        Field::Week => number(date.iso_week().week().into()),
        Field::DayOfYear => number(date.ordinal().into()),
        Field::Month => number(date.month().into()),
        Field::MonthShort => month[..3].to_owned(),
        Field::MonthLong => month.to_owned(),
        Field::Day => number(date.day().into()),
        Field::Weekday => number(date.weekday().number_from_monday().into()),
        Field::WeekdayShort => weekday[..3].to_owned(),
        Field::WeekdayLong => weekday.to_owned(),
        Field::HalfDay => {
            if hour < 12 {
                "AM".to_owned()
            } else {
                "PM".to_owned()
            }
        }
        Field::Hour12 => number(((hour + 11) % 12 + 1).into()),
        Field::Hour11 => number((hour % 12).into()),
        Field::Hour => number(hour.into()),
        Field::Hour24 => number(((hour + 23) % 24 + 1).into()),
        Field::Minute => number(local.minute().into()),
        Field::Second => number(local.second().into()),
        Field::Fraction => {
            let nanos = format!("{:09}", local.nanosecond() % 1_000_000_000);
            nanos.chars().chain(std::iter::repeat('0')).take(width).collect()
        }
        Field::ZoneName => zone.to_owned(),
        Field::ZoneOffset => offset_text(offset, ""),
        Field::ZoneOffsetColon => offset_text(offset, ":"),
    }
}

/// `+01:30`
pub(crate) fn offset_text(seconds: i32, colon: &str) -> String {
    let sign = if seconds < 0 { '-' } else { '+' };
    let minutes = seconds.unsigned_abs() / 60;
    format!("{sign}{:02}{colon}{:02}", minutes / 60, minutes % 60)
}

/// What was read.
pub(crate) struct Moment {
    pub(crate) local: NaiveDateTime,
    pub(crate) zone: Option<Zone>,
}

#[derive(Default)]
struct Found {
    year: Option<i32>,
    week_year: Option<i32>,
    week: Option<u32>,
    day_of_year: Option<u32>,
    month: Option<u32>,
    day: Option<u32>,
    weekday: Option<u32>,
    is_afternoon: Option<bool>,
    hour12: Option<u32>,
    hour: Option<u32>,
    minute: Option<u32>,
    second: Option<u32>,
    nanosecond: Option<u32>,
    zone: Option<Zone>,
}

impl Found {
    /// Takes a field off the text.
    fn take<'a>(&mut self, field: Field, most: usize, text: &'a str) -> Option<&'a str> {
        if !field.is_number() {
            return self.take_word(field, text);
        }
        let (sign, digits) = match text.strip_prefix('-') {
            Some(digits) if field == Field::Year => (-1, digits),
            _ => (1, text),
        };
        let count = digits.bytes().take(most).take_while(u8::is_ascii_digit).count();
        let (digits, rest) = digits.split_at(count);
        let number: u32 = digits.parse().ok()?;
        match field {
            Field::Year => self.year = Some(sign * i32::try_from(number).ok()?),
            Field::Year2 if count <= 2 => self.year = Some(if number < 70 { 2000 } else { 1900 } + number as i32),
            Field::Year2 => self.year = Some(i32::try_from(number).ok()?),
            Field::WeekYear => self.week_year = Some(i32::try_from(number).ok()?),
            Field::Week => self.week = Some(number),
            Field::DayOfYear => self.day_of_year = Some(number),
            Field::Month => self.month = Some(number),
            Field::Day => self.day = Some(number),
            Field::Weekday => self.weekday = Some(number),
            Field::Hour12 if (1..=12).contains(&number) => self.hour12 = Some(number % 12),
            Field::Hour11 if number < 12 => self.hour12 = Some(number),
            Field::Hour => self.hour = Some(number),
            Field::Hour24 if (1..=24).contains(&number) => self.hour = Some(number % 24),
            Field::Minute => self.minute = Some(number),
            Field::Second => self.second = Some(number),
            Field::Fraction => self.nanosecond = Some(format!("{digits:0<9}").parse().ok()?),
            _ => return None,
        }
        Some(rest)
    }

    fn take_word<'a>(&mut self, field: Field, text: &'a str) -> Option<&'a str> {
        let longest = |names: &[&str], short: usize| {
            names.iter().enumerate().find_map(|(index, name)| {
                let lengths = [name.len(), short];
                let length = lengths.into_iter().find(|length| {
                    text.get(..*length).is_some_and(|start| start.eq_ignore_ascii_case(&name[..*length]))
                })?;
                Some((index as u32, &text[length..]))
            })
        };
        match field {
            Field::MonthShort | Field::MonthLong => {
                let (month, rest) = longest(&MONTHS, 3)?;
                self.month = Some(month + 1);
                Some(rest)
            }
            Field::WeekdayShort | Field::WeekdayLong => {
                let (weekday, rest) = longest(&WEEKDAYS, 3)?;
                self.weekday = Some(weekday + 1);
                Some(rest)
            }
            Field::HalfDay => {
                let (half, rest) = longest(&["AM", "PM"], 2)?;
                self.is_afternoon = Some(half == 1);
                Some(rest)
            }
            Field::Era => longest(&["AD"], 2).map(|(_, rest)| rest),
            _ => {
                let is_zone = |letter: char| letter.is_ascii_alphanumeric() || "+-:/_".contains(letter);
                let end = text.find(|letter| !is_zone(letter)).unwrap_or(text.len());
                self.zone = Some(crate::dates::zone(&text[..end]).ok()?);
                Some(&text[end..])
            }
        }
    }

    fn moment(self) -> Option<Moment> {
        let weekday = self.weekday.and_then(|day| Weekday::try_from(day.checked_sub(1)? as u8).ok());
        let date = match (self.week_year, self.week, self.day_of_year) {
            (week_year, Some(week), _) => {
                NaiveDate::from_isoywd_opt(week_year.or(self.year)?, week, weekday.unwrap_or(Weekday::Mon))?
            }
            (_, _, Some(day)) => NaiveDate::from_yo_opt(self.year.unwrap_or(1970), day)?,
            _ => NaiveDate::from_ymd_opt(
                self.year.or(self.week_year).unwrap_or(1970),
                self.month.unwrap_or(1),
                self.day.unwrap_or(1),
            )?,
        };
        let hour = match (self.hour, self.hour12) {
            (Some(hour), _) => hour,
            (None, Some(hour)) => hour + if self.is_afternoon == Some(true) { 12 } else { 0 },
            (None, None) => 0,
        };
        let time = NaiveTime::from_hms_nano_opt(
            hour,
            self.minute.unwrap_or(0),
            self.second.unwrap_or(0),
            self.nanosecond.unwrap_or(0),
        )?;
        Some(Moment { local: date.and_time(time), zone: self.zone })
    }
}
