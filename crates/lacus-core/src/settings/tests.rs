//! What a settings file may say, and what a person reads when it says something else.

use super::*;

fn load(text: &str, environment: &[(&str, &str)]) -> Result<Settings> {
    Settings::load(text, environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())))
}

#[track_caller]
fn check_refused(text: &str, environment: &[(&str, &str)], expected: &str) {
    let error = load(text, environment).unwrap_err();
    let hint = error.hint().map(|hint| format!(" | {hint}")).unwrap_or_default();
    assert_eq!(format!("{error}{hint}"), expected);
}

#[test]
fn an_empty_file_gives_the_defaults() {
    let settings = load("", &[]).unwrap();
    assert_eq!(settings, Settings::default());
    assert_eq!(settings.server.http.to_string(), "127.0.0.1:8484");
    assert_eq!(settings.server.postgres.to_string(), "127.0.0.1:5484");
}

#[test]
fn the_environment_lies_over_the_file() {
    let text = "[delivery]\ncommit_after = \"1m\"\n[sources.clicks]\npartitions = 4\n";
    let settings = load(text, &[("LACUS__DELIVERY__COMMIT_AFTER", "10s"), ("LACUS__SOURCES__CLICKS__PARTITIONS", "2")]);
    let settings = settings.unwrap();
    assert_eq!(settings.delivery.commit_after, Millis::seconds(10));
    assert_eq!(settings.partitions_of(&StreamName::new("clicks").unwrap()), 2);
    assert_eq!(settings.partitions_of(&StreamName::new("others").unwrap()), 1);
}

#[test]
fn unknown_keys_are_refused_with_the_nearest_right_one() {
    check_refused(
        "\n[server]\nhtpp = \"127.0.0.1:1\"\n",
        &[],
        "lacus.toml line 3: there is no setting \"htpp\" here | did you mean \"http\"?",
    );
    check_refused(
        "",
        &[("LACUS__DELIVERY__COMIT_AFTER", "10s")],
        "LACUS__DELIVERY__COMIT_AFTER: there is no setting \"comit_after\" here | did you mean \"commit_after\"?",
    );
    check_refused(
        "[warp]\n",
        &[],
        "lacus.toml line 1: there is no setting \"warp\" here | settings here: server, stream, delivery, query, sources",
    );
}

#[test]
fn values_that_cannot_be_are_refused() {
    check_refused(
        "[delivery]\ncommit_after = \"soon\"\n",
        &[],
        "lacus.toml line 2: \"soon\" is not a duration such as 250ms, 60s, 5m, 24h or 7d",
    );
    check_refused("[stream]\npartitions = 0\n", &[], "partitions = 0: a stream has 1 to 1024 partitions");
    let error = load("[server]\nhttp = \"0.0.0.0:8484\"\n", &[]).unwrap_err();
    assert!(error.message().starts_with("refusing to listen on 0.0.0.0:8484"), "{error}");
    assert!(load("[sources.\"No Good\"]\n", &[]).is_err());
}
