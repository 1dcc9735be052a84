//! The example of RFC 7677, a client that others wrote, and what is no SCRAM.

use postgres_protocol::authentication::sasl::{ChannelBinding, ScramSha256};
use postgres_protocol::password;

use super::*;

/// The salt of the example, and what PBKDF2 makes of the password "pencil" with it.
fn example() -> Verifier {
    let salt = BASE64.decode("W22ZaJ0SNY7soEsUEjb6gQ==").unwrap();
    let mut block = authenticate(b"pencil", &[&salt[..], &[0, 0, 0, 1]].concat());
    let mut salted = block;
    for _ in 1..4096 {
        block = authenticate(b"pencil", &block);
        salted.iter_mut().zip(block).for_each(|(byte, other)| *byte ^= other);
    }
    let stored_key = Sha256::digest(authenticate(&salted, b"Client Key"));
    let server_key = authenticate(&salted, b"Server Key");
    let [salt, stored, server] = [&salt[..], &stored_key, &server_key].map(|bytes| BASE64.encode(bytes));
    Verifier::parse(&format!("SCRAM-SHA-256$4096:{salt}${stored}:{server}")).unwrap()
}

const OUR_NONCE: &str = "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0";
const FIRST: &str = "n,,n=user,r=rOprNGfwEbeRWgbNEkqO";
const FINAL: &str =
    "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=";

fn begin(message: &str) -> Result<Exchange, Failed> {
    Exchange::begin(example(), SCRAM, message.as_bytes(), None, OUR_NONCE)
}

#[test]
fn the_example_of_the_rfc_is_proved() {
    let exchange = begin(FIRST).unwrap();
    let expected = "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096";
    assert_eq!(exchange.challenge(), expected);
    let ours = exchange.prove(FINAL.as_bytes()).unwrap();
    assert_eq!(ours, "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=");
}

#[test]
fn each_change_of_a_proof_is_refused() {
    let exchange = begin(FIRST).unwrap();
    let other_proof = FINAL.replace("p=dHzb", "p=eHzb");
    assert_eq!(exchange.prove(other_proof.as_bytes()), Err(Failed::Proof));
    let extended = FINAL.replace(",p=", ",x=1,p=");
    assert_eq!(exchange.prove(extended.as_bytes()), Err(Failed::Proof), "an extension is signed, too");
    // "y,,", as if we could not bind.
    assert_eq!(exchange.prove(FINAL.replace("biws", "eSws").as_bytes()), Err(Failed::Binding));
    assert!(matches!(exchange.prove(FINAL.replace("k0,", "k1,").as_bytes()), Err(Failed::Malformed(_))));
    for cut in 0..FINAL.len() {
        assert!(exchange.prove(&FINAL.as_bytes()[..cut]).is_err(), "{cut}");
    }
    assert!(matches!(exchange.prove(b"\xff,p="), Err(Failed::Malformed(_))));
    let other = Exchange::begin(example(), SCRAM, FIRST.as_bytes(), None, "another").unwrap();
    assert!(other.prove(FINAL.as_bytes()).is_err(), "a proof is for one nonce");
}

#[test]
fn what_is_no_first_message_is_refused() {
    for wrong in [
        "",
        "n",
        "n,",
        "n,,",
        "n,,n=",
        "n,,n=,r=",
        "n,,r=abc",
        "n,,n=,r=a b",
        "x,,n=,r=a",
        "n,,m=1,n=,r=a",
        "p=tls-unique,,n=,r=a",
    ] {
        assert!(matches!(begin(wrong), Err(Failed::Malformed(_))), "{wrong}");
    }
    assert!(matches!(begin("n,a=ada,n=,r=a"), Err(Failed::Malformed("an authorization identity is not supported"))));
    assert!(begin("y,,n=*,r=a,x=1").is_ok(), "extensions are none of our business");
}

#[test]
fn a_binding_is_to_our_certificate() {
    let begin = |mechanism: &str, message: &str, endpoint: Option<&[u8]>| {
        Exchange::begin(example(), mechanism, message.as_bytes(), endpoint, OUR_NONCE).map(|_| ())
    };
    let bound = "p=tls-server-end-point,,n=,r=a";
    assert_eq!(begin(SCRAM_PLUS, bound, Some(b"hash")), Ok(()));
    assert_eq!(begin(SCRAM, "n,,n=,r=a", Some(b"hash")), Ok(()), "nobody has to bind");
    assert_eq!(begin(SCRAM, "y,,n=,r=a", Some(b"hash")), Err(Failed::Binding), "somebody took our offer away");
    for (mechanism, message, endpoint) in [
        (SCRAM_PLUS, bound, None),
        (SCRAM, bound, Some(&b"hash"[..])),
        (SCRAM_PLUS, "n,,n=,r=a", Some(b"hash")),
        (SCRAM_PLUS, "y,,n=,r=a", Some(b"hash")),
        ("PLAIN", "n,,n=,r=a", None),
    ] {
        assert!(matches!(begin(mechanism, message, endpoint), Err(Failed::Malformed(_))), "{mechanism} {message}");
    }
}

/// Lets a client that others wrote log in. It checks our proof, too.
fn log_in(verifier: Verifier, typed: &str, binding: ChannelBinding, ours: Option<&[u8]>) -> Result<(), Failed> {
    let mechanism = if ours.is_some() { SCRAM_PLUS } else { SCRAM };
    let mut client = ScramSha256::new(typed.as_bytes(), binding);
    let exchange = Exchange::begin(verifier, mechanism, client.message(), ours, OUR_NONCE)?;
    client.update(exchange.challenge().as_bytes()).unwrap();
    let proof = exchange.prove(client.message())?;
    client.finish(proof.as_bytes()).unwrap();
    Ok(())
}

#[test]
fn a_client_that_others_wrote_logs_in_with_the_password_only() {
    for (password, typed) in [("pencil", "pencil"), ("I\u{ad}X", "IX"), ("žluťoučký kůň", "žluťoučký kůň"), (" ", " ")]
    {
        let verifier = Verifier::parse(&password::scram_sha_256(password.as_bytes())).unwrap();
        assert_eq!(log_in(verifier.clone(), typed, ChannelBinding::unsupported(), None), Ok(()), "{password}");
        assert_eq!(log_in(verifier.clone(), typed, ChannelBinding::unrequested(), None), Ok(()), "{password}");
        let bound = || ChannelBinding::tls_server_end_point(b"hash".to_vec());
        assert_eq!(log_in(verifier.clone(), typed, bound(), Some(b"hash")), Ok(()), "{password}");
        assert_eq!(log_in(verifier.clone(), typed, bound(), Some(b"other")), Err(Failed::Binding), "{password}");
        assert_eq!(log_in(verifier, "wrong", ChannelBinding::unsupported(), None), Err(Failed::Proof), "{password}");
    }
}

#[test]
fn nobody_logs_in_as_somebody_who_is_not_there() {
    let mock = |secret: &[u8], user: &str| Verifier::mock(secret, user, ITERATIONS, SALT_BYTES);
    let ada = mock(b"secret", "ada");
    assert_eq!(log_in(ada.clone(), "", ChannelBinding::unsupported(), None), Err(Failed::Proof));
    assert_eq!(ada.salt, mock(b"secret", "ada").salt, "the salt of a user does not change");
    assert_ne!(ada.salt, mock(b"secret", "bob").salt);
    assert_ne!(ada.salt, mock(b"another secret", "ada").salt);
    for salt_bytes in [1, 16, 32, 33, SALT_BYTES_MAX] {
        let other = Verifier::mock(b"secret", "ada", 7, salt_bytes);
        assert_eq!((other.salt_bytes(), other.iterations()), (salt_bytes, 7));
    }
}

#[test]
fn what_is_no_verifier_is_none() {
    let text = password::scram_sha_256(b"x");
    assert!(Verifier::parse(&text).is_some());
    for cut in 0..text.len() {
        assert!(Verifier::parse(&text[..cut]).is_none(), "{cut}");
    }
    assert!(Verifier::parse(&text.replace("$4096:", "$0:")).is_none());
    assert!(Verifier::parse(&text.replace("$4096:", "$99999999:")).is_none());
}
