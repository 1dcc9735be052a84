//! Intervals as PostgreSQL and ISO 8601 write them: `'1 02:03:04'`, `'1 year 04:05:06'`, `'P1Y2MT3H'`. The engine knows only numbers
//! with units, and casts a number without one to months.

/// Such an interval in numbers with units; none if it is no such interval.
pub(super) fn in_units(text: &str) -> Option<String> {
    if let Some(parts) = text.trim().strip_prefix('P') {
        return designated(parts);
    }
    let words: Vec<&str> = text.split_whitespace().collect();
    let (last, before) = words.split_last()?;
    if is_number(last) {
        return Some(format!("{} seconds", words.join(" ")));
    }
    let clock = clock(last)?;
    let mut words = before.to_vec();
    if before.last().is_some_and(|word| is_number(word)) {
        words.push("days");
    }
    words.push(&clock);
    Some(words.join(" "))
}

fn is_number(word: &str) -> bool {
    let digits = word.strip_prefix('-').unwrap_or(word);
    digits.contains(|letter: char| letter.is_ascii_digit())
        && digits.chars().all(|letter| letter.is_ascii_digit() || letter == '.')
}

/// `-02:03:04.5`: the sign applies to each part.
fn clock(word: &str) -> Option<String> {
    let (sign, clock) = match word.strip_prefix('-') {
        Some(clock) => ("-", clock),
        None => ("", word),
    };
    let (hours, behind) = clock.split_once(':')?;
    let (minutes, seconds) = behind.split_once(':').unwrap_or((behind, "0"));
    let whole_seconds = seconds.split_once('.').map_or(seconds, |(whole, _)| whole);
    let is_below_sixty = |digits: &str| digits.parse::<u8>().is_ok_and(|count| count < 60);
    let is_clock = is_number(hours) && is_below_sixty(minutes) && is_below_sixty(whole_seconds);
    is_clock.then(|| format!("{sign}{hours} hours {sign}{minutes} minutes {sign}{seconds} seconds"))
}

/// `1Y2M3DT4H5M6S`
fn designated(parts: &str) -> Option<String> {
    let (days, time) = parts.split_once('T').unwrap_or((parts, ""));
    let mut words = Vec::new();
    read_into(&mut words, days, &[('Y', "years"), ('M', "months"), ('W', "weeks"), ('D', "days")])?;
    read_into(&mut words, time, &[('H', "hours"), ('M', "minutes"), ('S', "seconds")])?;
    (!words.is_empty()).then(|| words.join(" "))
}

fn read_into(words: &mut Vec<String>, mut parts: &str, units: &[(char, &str)]) -> Option<()> {
    while !parts.is_empty() {
        let end = parts.find(|letter: char| letter.is_ascii_alphabetic())?;
        let (number, behind) = parts.split_at(end);
        let (letter, unit) = units.iter().find(|(letter, _)| behind.starts_with(*letter))?;
        if !is_number(number) {
            return None;
        }
        words.push(format!("{number} {unit}"));
        parts = behind.strip_prefix(*letter)?;
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::in_units;

    #[test]
    fn intervals_have_units() {
        for (text, expected) in [
            ("1 02:03:04", Some("1 days 02 hours 03 minutes 04 seconds")),
            ("1 year 2 mons  3 days 04:05:06.7", Some("1 year 2 mons 3 days 04 hours 05 minutes 06.7 seconds")),
            ("-1 day -02:03", Some("-1 day -02 hours -03 minutes -0 seconds")),
            ("100:00:00", Some("100 hours 00 minutes 00 seconds")),
            ("5", Some("5 seconds")),
            ("1 day -2.5", Some("1 day -2.5 seconds")),
            ("P1Y2M3DT4H5M6.5S", Some("1 years 2 months 3 days 4 hours 5 minutes 6.5 seconds")),
            ("P-2W", Some("-2 weeks")),
            ("PT5M", Some("5 minutes")),
            ("1 day", None),
            ("1day 2hours", None),
            ("02:60:00", None),
            ("02:03.5", None),
            ("1:2:3:4", None),
            ("P", None),
            ("P1H", None),
            ("PT1", None),
            ("é", None),
            ("", None),
        ] {
            assert_eq!(in_units(text).as_deref(), expected, "{text}");
        }
    }
}
