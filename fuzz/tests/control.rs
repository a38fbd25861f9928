//! What operators and their tools send: configuration files and request lines. Whatever comes, there is an answer and no
//! panic; what is accepted as a configuration is written and read again as the same.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;

use mio::{Poll, Token};
use ringswitch_control::config::{parse, to_toml};
use ringswitch_control::rpc::{Call, Server};
use ringswitch_fuzz::text::mutate;
use ringswitch_fuzz::{Random, run};

const REQUESTS: [&str; 8] = [
    r#"{"jsonrpc":"2.0","id":1,"method":"transact","params":{"commands":[{"add-br":{"bridge":"br0"}}]}}"#,
    r#"{"jsonrpc":"2.0","id":2,"method":"add-flows","params":{"bridge":"br0","flows":["priority=1 actions=drop"]}}"#,
    r#"{"jsonrpc":"2.0","id":"x","method":"del-flows","params":{"bridge":"br0","flow":null,"strict":true}}"#,
    r#"{"jsonrpc":"2.0","id":[],"method":"fdb-add","params":{"bridge":"b","port":"p","vlan":1,"mac":"02::1"}}"#,
    r#"{"jsonrpc":"2.0","method":"version"}"#,
    r#"{"jsonrpc":"2.0","id":3,"method":"reload","params":{"file":"/x"}}"#,
    r#"[{"jsonrpc":"2.0"}]"#,
    r#"{"id":1e400}"#,
];

/// The files under `configs`, which are all good.
fn examples() -> Vec<String> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../configs");
    let paths = std::fs::read_dir(directory).expect("configs").map(|entry| entry.expect("an entry").path());
    let tables = paths.filter(|path| path.extension().is_some_and(|end| end == "toml"));
    tables.map(|path| std::fs::read_to_string(path).expect("a file")).collect()
}

#[test]
fn configuration_files() {
    let examples = examples();
    assert!(!examples.is_empty());
    let case = |random: &mut Random| {
        let text = mutate(random, &random.clone().pick(&examples).clone());
        let Ok(switch) = parse(&text, Path::new("fuzz.toml"), &[0, 1]) else { return };
        let written = to_toml(&switch);
        let again = parse(&written, Path::new("written.toml"), &[0, 1]);
        assert!(again.as_ref().is_ok_and(|again| *again == switch), "{text}\n--- is written as\n{written}\n{again:?}");
    };
    run("control", case);
}

/// Each line is answered by one line of JSON, or by none when it has no id, and the last one always.
#[test]
fn request_lines() {
    let directory = tempfile::tempdir().expect("directory");
    let case = |random: &mut Random| {
        let (mut poll, path) = (Poll::new().expect("epoll"), directory.path().join("rpc"));
        let mut server = Server::listen(&path, poll.registry(), Token(0)).expect("a socket");
        let mut client = UnixStream::connect(&path).expect("connect");
        client.set_nonblocking(true).expect("non-blocking");
        let mut lines: Vec<u8> = Vec::new();
        for _ in 0..random.below(30) {
            let request = *random.pick(&REQUESTS);
            lines.extend(if random.once_in(3) { request.to_owned() } else { mutate(random, request) }.bytes());
            lines.push(b'\n');
        }
        lines.extend(b"{\"jsonrpc\":\"2.0\",\"id\":\"last\",\"method\":\"dump-config\"}\n");
        let (mut sent, mut answers) = (0, Vec::new());
        let mut answer =
            |call: Call| if let Call::DumpConfig {} = call { Ok("5".into()) } else { Err(format!("{call:?}")) };
        while !answers.ends_with(b"\"id\":\"last\",\"result\":5}\n") {
            let end = (sent + 1 + random.index(400)).min(lines.len());
            sent += client.write(&lines[sent..end]).unwrap_or(0);
            let mut events = mio::Events::with_capacity(8);
            poll.poll(&mut events, Some(std::time::Duration::ZERO)).expect("poll");
            events.iter().for_each(|event| server.ready(event.token(), poll.registry(), &mut answer));
            server.go_on(&mut answer);
            let mut bytes = [0; 65536];
            let count = client.read(&mut bytes).unwrap_or(usize::MAX);
            assert!(count > 0, "the connection was closed");
            answers.extend_from_slice(bytes.get(..count).unwrap_or_default());
        }
        for line in answers.split(|&byte| byte == b'\n').filter(|line| !line.is_empty()) {
            let reply: serde_json::Value = serde_json::from_slice(line).expect("JSON");
            assert_eq!(reply["jsonrpc"], "2.0");
        }
    };
    run("control", case);
}
