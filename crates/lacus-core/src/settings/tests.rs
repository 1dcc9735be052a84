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
        "lacus.toml line 1: there is no setting \"warp\" here | settings here: server, postgres, stream, delivery, lake, query, sources, tables",
    );
}

#[test]
fn of_many_variables_the_wrong_one_is_named() {
    let right = ("LACUS__DELIVERY__COMMIT_AFTER", "10s");
    let hint = "write an address and a port in digits, as in 127.0.0.1:8484";
    check_refused(
        "",
        &[right, ("LACUS__SERVER__HTTP", "localhost:8484"), ("LACUS__SERVER__POSTGRES", "127.0.0.1:5484")],
        &format!("LACUS__SERVER__HTTP: invalid socket address syntax | {hint}"),
    );
    check_refused(
        "",
        &[right, ("LACUS__SERVER__POSTGRES", "5484")],
        &format!("LACUS__SERVER__POSTGRES: invalid type: integer `5484`, expected socket address | {hint}"),
    );
    check_refused(
        "[server]\nhttp = \"localhost:8484\"\n",
        &[right],
        &format!("lacus.toml line 2: invalid socket address syntax | {hint}"),
    );
}

#[test]
fn values_that_cannot_be_are_refused() {
    check_refused(
        "[delivery]\ncommit_after = \"soon\"\n",
        &[],
        "lacus.toml line 2: \"soon\" is not a duration such as 250ms, 60s, 5m, 24h or 7d",
    );
    check_refused(
        "[sources.a]\npartitions = 5000\n",
        &[],
        "[sources.a] partitions = 5000: a stream has 1 to 1024 partitions",
    );
    check_refused(
        "[query]\nstatement_memory_max = \"1MB\"\n",
        &[],
        "query.statement_memory_max is 1MB: it is 16MB at least",
    );
    load("[query]\nstatement_memory_max = \"0B\"\nrows_max = 0\n", &[]).unwrap();
    check_refused("[server]\nconnections_max = 0\n", &[], "server.connections_max is 0: nobody could connect");
    check_refused("[query]\ntimeout = \"0s\"\n", &[], "query.timeout is 0: no query could do anything");
    check_refused("[stream]\npartitions = 0\n", &[], "[stream] partitions = 0: a stream has 1 to 1024 partitions");
    let error = load("[server]\nhttp = \"0.0.0.0:8484\"\n", &[]).unwrap_err();
    assert!(error.message().starts_with("refusing to listen on 0.0.0.0:8484"), "{error}");
    load("[server]\nhttp = \"0.0.0.0:8484\"\n[lake]\nbucket = \"lake\"\n", &[]).unwrap();
    assert!(load("[sources.\"No Good\"]\n", &[]).is_err());
}

/// Whether there are users is looked at when the project is open.
#[test]
fn the_postgres_port_may_be_where_others_reach_it() {
    let settings = load("[server]\npostgres = \"0.0.0.0:5484\"\n", &[]).unwrap();
    assert_eq!(settings.postgres, Postgres::default());
}

#[test]
fn tls_is_set_as_a_whole() {
    let hint = "set both: tls_certificate = \"tls/server.crt\" and tls_key = \"tls/server.key\"";
    for (text, expected) in [
        ("tls_certificate = \"a.crt\"", "[postgres] has a tls_certificate and no tls_key"),
        ("tls_key = \"a.key\"", "[postgres] has a tls_key and no tls_certificate"),
        ("tls_required = true", "[postgres] tls_required = true, and there is no certificate"),
    ] {
        check_refused(&format!("[postgres]\n{text}\n"), &[], &format!("{expected} | {hint}"));
    }
    let all = "[postgres]\ntls_certificate = \"a.crt\"\ntls_key = \"a.key\"\ntls_required = true\n";
    assert!(load(all, &[("LACUS__POSTGRES__PASSWORDS", "always")]).unwrap().postgres.tls_required);
}

#[test]
fn variables_are_read_as_what_they_look_like() {
    let environment = [
        ("LACUS__SERVER__REQUIRE_KEY", "true"),
        ("LACUS__STREAM__PARTITIONS", "3"),
        ("LACUS__SOURCES__A__WEBHOOK__SECRET", "0123"),
        ("LACUS__SOURCES__B__WEBHOOK__SECRET", "123"),
    ];
    let text = "[sources.a.webhook]\nheader = \"x-signature\"\n[sources.b.webhook]\nheader = \"x-signature\"\n";
    let settings = load(text, &environment).unwrap();
    assert!(settings.server.require_key);
    assert_eq!(settings.stream.partitions, 3);
    let secret = |name: &str| settings.sources[name].webhook.as_ref().unwrap().secret.reveal().to_owned();
    assert_eq!((secret("a"), secret("b")), ("0123".to_owned(), "123".to_owned()));
}

#[test]
fn a_secret_is_never_shown() {
    let settings = load("[sources.a.webhook]\nheader = \"x-signature\"\nsecret = \"hush\"\n", &[]).unwrap();
    assert!(!format!("{settings:?}").contains("hush"));
    assert!(!toml::to_string(&settings).unwrap().contains("hush"));
}

/// Only a server needs the secret, and its environment need not be that of other commands.
#[test]
fn a_server_needs_the_secret_of_a_webhook() {
    let text = "[sources.hub.webhook]\nheader = \"x-hub-signature-256\"\n";
    let error = load(text, &[]).unwrap().check_secrets().unwrap_err();
    assert_eq!(error.to_string(), "[sources.hub] webhook has no secret");
    assert_eq!(error.hint(), Some("set LACUS__SOURCES__HUB__WEBHOOK__SECRET in the environment"));
    let secret = ("LACUS__SOURCES__HUB__WEBHOOK__SECRET", "s");
    load(text, &[secret]).unwrap().check_secrets().unwrap();
}

#[test]
fn a_webhook_says_how_it_is_signed() {
    check_refused(
        "[sources.hub.webhook]\nsecret = \"s\"\n",
        &[],
        "[sources.hub] webhook does not say the header with the signature | the sender's manual names it: header = \"x-hub-signature-256\"",
    );
    check_refused(
        "[sources.hub.webhook]\nsecret = \"s\"\nheader = \"h\"\nsigned = \"{timestamp}\"\n",
        &[],
        "[sources.hub] webhook signs no {body} | signed = \"{timestamp}.{body}\"",
    );
    check_refused(
        "[sources.hub.webhook]\nsecret = \"s\"\nheader = \"h\"\ntimestamp_header = \"t\"\n",
        &[],
        "[sources.hub] webhook names a header with the timestamp, and does not say where it is signed | signed = \"{timestamp}.{body}\"",
    );
    check_refused(
        "[sources.hub.webhook]\nsecrt = \"s\"\n",
        &[],
        "lacus.toml line 2: there is no setting \"secrt\" here | did you mean \"secret\"?",
    );
}

#[test]
fn a_source_says_how_its_events_become_tables() {
    let text =
        "[sources.app]\nnested = \"flatten\"\narrays = \"explode\"\ntables = \"by_event\"\nevent = \"meta.name\"\n";
    let settings = load(text, &[]).unwrap();
    let shape = |name: &str| settings.source(&StreamName::new(name).unwrap()).shape();
    assert_eq!(shape("app").to_string(), "nested=flatten,arrays=explode,tables=by_event,event=meta.name");
    assert!(shape("other").is_as_sent());
    check_refused(
        "[sources.app]\ntables = \"by_event\"\n",
        &[],
        "[sources.app] does not say where the name of an event is | tables = \"by_event\" needs event = \"event_name\", or the path where it is",
    );
    check_refused(
        "[sources.app]\nevent = \"name\"\n",
        &[],
        "[sources.app] has one table, and says where the name of an event is | add tables = \"by_event\", or take event away",
    );
    check_refused(
        "[sources.app]\ntables = \"by_event\"\nevent = \"a..b\"\n",
        &[],
        "[sources.app] event = \"a..b\" is no path of a field | a field such as event_name, or user.action for one inside of an object",
    );
    check_refused(
        "[sources.app]\narrays = \"unnest\"\n",
        &[],
        "lacus.toml line 2: unknown variant `unnest`, expected one of `list`, `json`, `explode`",
    );
}
