use mysync_change::batch::Packed;
use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

fn packed(commands: &[Vec<Vec<u8>>]) -> RedisCommands {
    let mut packed = RedisCommands::default();
    for (row, command) in commands.iter().enumerate() {
        packed.rows.push(row as u32);
        packed.arguments.push(command.len() as u32);
        command.iter().for_each(|argument| packed.values.push(argument));
    }
    packed
}

/// The protocol's own words, one by one.
fn spelled(commands: &[Vec<Vec<u8>>]) -> Vec<u8> {
    let mut text = Vec::new();
    for command in commands {
        text.extend(format!("*{}\r\n", command.len()).bytes());
        for argument in command {
            text.extend(format!("${}\r\n", argument.len()).bytes());
            text.extend(argument);
            text.extend(b"\r\n");
        }
    }
    text
}

fn rendered(commands: &RedisCommands, enough: usize) -> Result<Vec<u8>, Contradiction> {
    let (mut out, mut all, mut rendered) = (Outgoing::default(), Vec::new(), Rendered::default());
    while rendered.commands < commands.len() {
        rendered.more(commands, &mut out, enough)?;
        all.extend_from_slice(out.bytes());
        out.clear(enough);
    }
    Ok(all)
}

#[derive(Debug, Clone, PartialEq)]
enum Owned {
    Simple(Vec<u8>),
    Error(Vec<u8>),
    Integer(i64),
    Bulk(Option<Vec<u8>>),
    Array(Option<usize>),
}

impl Owned {
    fn of(reply: Reply<'_>) -> Self {
        match reply {
            Reply::Simple(text) => Owned::Simple(text.to_vec()),
            Reply::Error(text) => Owned::Error(text.to_vec()),
            Reply::Integer(number) => Owned::Integer(number),
            Reply::Bulk(text) => Owned::Bulk(text.map(<[u8]>::to_vec)),
            Reply::Array(count) => Owned::Array(count),
        }
    }

    fn spell(&self, to: &mut Vec<u8>) {
        let line = |to: &mut Vec<u8>, mark: &str, text: &[u8]| {
            to.extend(mark.bytes());
            to.extend(text);
            to.extend(b"\r\n");
        };
        match self {
            Owned::Simple(text) => line(to, "+", text),
            Owned::Error(text) => line(to, "-", text),
            Owned::Integer(number) => line(to, ":", number.to_string().as_bytes()),
            Owned::Bulk(None) => line(to, "$", b"-1"),
            Owned::Bulk(Some(text)) => {
                line(to, "$", text.len().to_string().as_bytes());
                line(to, "", text);
            }
            Owned::Array(None) => line(to, "*", b"-1"),
            Owned::Array(Some(count)) => line(to, "*", count.to_string().as_bytes()),
        }
    }
}

fn reply() -> impl Strategy<Value = Owned> {
    let line = || vec(any::<u8>().prop_filter("no line end", |byte| !b"\r\n".contains(byte)), 0..40);
    prop_oneof![
        Just(Owned::Simple(b"QUEUED".to_vec())),
        line().prop_map(Owned::Simple),
        line().prop_map(Owned::Error),
        any::<i64>().prop_map(Owned::Integer),
        proptest::option::of(vec(any::<u8>(), 0..3000)).prop_map(Owned::Bulk),
        proptest::option::of(0..100_000usize).prop_map(Owned::Array),
    ]
}

/// Feeds bytes in pieces and takes what comes out, to the end or to the first nonsense.
fn fed(bytes: &[u8], pieces: &[usize]) -> (Vec<Owned>, Option<Nonsense>, usize) {
    let (mut incoming, mut found, mut rest) = (Incoming::default(), Vec::new(), bytes);
    let mut pieces = pieces.iter().copied().cycle();
    while !rest.is_empty() {
        let room = incoming.room();
        let size = pieces.next().unwrap_or(1).clamp(1, room.len()).min(rest.len());
        room[..size].copy_from_slice(&rest[..size]);
        incoming.received(size);
        rest = &rest[size..];
        loop {
            match incoming.take() {
                Ok(Some(reply)) => found.push(Owned::of(reply)),
                Ok(None) => break,
                Err(nonsense) => return (found, Some(nonsense), incoming.bytes.len()),
            }
        }
    }
    (found, None, incoming.bytes.len())
}

proptest! {
    #[test]
    fn commands_are_spelled_as_the_protocol_wants(
        commands in vec(vec(vec(any::<u8>(), 0..400), 1..30), 0..20),
        enough in 1..5000usize,
    ) {
        prop_assert_eq!(rendered(&packed(&commands), enough), Ok(spelled(&commands)));
    }

    #[test]
    fn lists_that_contradict_each_other_are_refused(
        arguments in vec(0..6u32, 0..6),
        ends in vec(prop_oneof![0..60u32, 0..4000u32], 0..12),
        data in vec(any::<u8>(), 0..4000),
    ) {
        let commands = RedisCommands { rows: vec![0; arguments.len()], arguments, values: Packed { ends, data } };
        if let Ok(text) = rendered(&commands, 100) {
            let (replies, nonsense, _) = fed(&text, &[7]);
            prop_assert_eq!(nonsense, None);
            prop_assert_eq!(replies.len(), commands.arguments.iter().map(|count| *count as usize + 1).sum::<usize>());
        }
    }

    #[test]
    fn replies_are_the_same_however_they_are_cut(replies in vec(reply(), 0..30), pieces in vec(1..5000usize, 1..8)) {
        let mut bytes = Vec::new();
        replies.iter().for_each(|reply| reply.spell(&mut bytes));
        let (found, nonsense, _) = fed(&bytes, &pieces);
        prop_assert_eq!(nonsense, None);
        prop_assert_eq!(found, replies);
    }

    #[test]
    fn hostile_bytes_are_an_error_or_wait_for_more(
        bytes in vec(prop_oneof![4 => proptest::sample::select(b"+-:$*\r\n0123456789".to_vec()), 1 => any::<u8>()], 0..200),
        pieces in vec(1..50usize, 1..4),
    ) {
        let (whole, whole_error, _) = fed(&bytes, &[bytes.len().max(1)]);
        let (cut, cut_error, _) = fed(&bytes, &pieces);
        prop_assert_eq!(whole, cut);
        prop_assert_eq!(whole_error, cut_error);
    }
}

#[test]
fn every_short_length_is_spelled() {
    let commands: Vec<_> = (0..3 * KNOWN).map(|length| vec![vec![b'x'; length]]).collect();
    assert_eq!(rendered(&packed(&commands), 1), Ok(spelled(&commands)));
}

#[test]
fn what_never_ends_is_refused_and_held_in_bounds() {
    let endless = |start: &[u8], fill: u8| [start, &vec![fill; 8 << 20]].concat();
    let cases = [
        (endless(b"+", b'x'), "a line without an end"),
        (endless(b"$1048577\r\n", b'x'), "a text larger than any that was asked for"),
        (endless(b"$1048576\r\n", b'x'), "a text that does not end where it should"),
        (endless(b"$9999999999999999999999\r\n", b'x'), "a number that is none"),
        (endless(b"*-2\r\n", b'x'), "a negative length"),
        (endless(b"HTTP/1.1 400 Bad Request\r\n", b'x'), "a reply of no known kind"),
        (endless(b"+OK\n", b'x'), "a line that ends wrongly"),
    ];
    for (bytes, expected) in cases {
        let (_, nonsense, held) = fed(&bytes, &[usize::MAX]);
        assert_eq!(nonsense, Some(Nonsense(expected)));
        assert!(held <= UNREAD_MAX + READ, "{held} bytes held for: {expected}");
    }
}
