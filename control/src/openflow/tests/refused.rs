//! What is wrong is refused with the right error value; long replies take several messages.

use super::message::*;
use super::stats::*;
use super::*;

/// A flow-mod of 1.3 with this match (fields only) and these instructions.
fn flow_mod(fields: &[u8], instructions: &[u8]) -> Vec<u8> {
    let mut body = vec![0; 40];
    body[24..36].fill(0xff);
    body.extend([0, 1]);
    body.extend((fields.len() as u16 + 4).to_be_bytes());
    body.extend(fields);
    body.resize(body.len().next_multiple_of(8), 0);
    body.extend(instructions);
    whole(4, 14, &body)
}

fn whole(version: u8, kind: u8, body: &[u8]) -> Vec<u8> {
    let mut message = vec![version, kind];
    message.extend((body.len() as u16 + 8).to_be_bytes());
    message.extend([0, 0, 0, 9]);
    message.extend(body);
    message
}

/// An apply-actions instruction.
fn apply(actions: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0, 4];
    bytes.extend((actions.len() as u16 + 8).to_be_bytes());
    bytes.extend([0; 4]);
    bytes.extend(actions);
    bytes
}

const ETH_TYPE_IP: [u8; 6] = [0x80, 0, 5 << 1, 2, 8, 0];

fn with_ip(more: &[u8]) -> Vec<u8> {
    [&ETH_TYPE_IP, more].concat()
}

#[test]
fn bad_matches_have_their_error() {
    let cases: [(&[u8], OfError); 12] = [
        (&[0x80, 0, 99 << 1, 2, 0, 0], OfError::OFPBMC_BAD_FIELD),
        (&[0x12, 0x34, 0, 0], OfError::OFPBMC_BAD_FIELD),
        (&[0x80, 0, 5 << 1, 4, 0, 0, 0, 0], OfError::OFPBMC_BAD_FIELD),
        (&[0x80, 0, 5 << 1, 2, 8], OfError::OFPBMC_BAD_LEN),
        (&[0x80, 0, 5 << 1], OfError::OFPBMC_BAD_LEN),
        (&[0x80, 0, 10 << 1, 1, 6], OfError::OFPBMC_BAD_PREREQ),
        (&with_ip(&ETH_TYPE_IP), OfError::OFPBMC_DUP_FIELD),
        (&[0x80, 0, 5 << 1 | 1, 4, 8, 0, 0xff, 0], OfError::OFPBMC_BAD_MASK),
        (&with_ip(&[0x80, 0, 11 << 1 | 1, 8, 10, 0, 0, 1, 255, 0, 0, 0]), OfError::OFPBMC_BAD_WILDCARDS),
        (&with_ip(&[0x80, 0, 8 << 1, 1, 64]), OfError::OFPBMC_BAD_VALUE),
        (&[0x80, 0, 6 << 1, 2, 0x20, 0], OfError::OFPBMC_BAD_VALUE),
        (&[0xff, 0xff, 42 << 1, 6, 0, 0, 0, 1, 0, 0], OfError::OFPBMC_BAD_FIELD),
    ];
    for (fields, error) in cases {
        assert_eq!(decode(&flow_mod(fields, &[]), false), Err(error), "{fields:02x?}");
    }
}

#[test]
fn masks_that_say_nothing_or_all_are_taken_from_any_field() {
    let exact = decode(&flow_mod(&ETH_TYPE_IP, &[]), false).expect("sound");
    assert_eq!(decode(&flow_mod(&[0x80, 0, 5 << 1 | 1, 4, 8, 0, 0xff, 0xff], &[]), false), Ok(exact));
    let nothing = decode(&flow_mod(&[], &[]), false).expect("sound");
    assert_eq!(decode(&flow_mod(&[0x80, 0, 5 << 1 | 1, 4, 0, 0, 0, 0], &[]), false), Ok(nothing));
}

#[test]
fn bad_actions_have_their_error() {
    let cases: [(&[u8], OfError); 15] = [
        (&[0, 99, 0, 8, 0, 0, 0, 0], OfError::OFPBAC_BAD_TYPE),
        (&[0, 22, 0, 16, 0, 0, 0, 1], OfError::OFPBAC_BAD_LEN),
        (&[0, 0, 0, 8, 0, 0, 0, 1], OfError::OFPBAC_BAD_LEN),
        (&[0, 0, 0, 0, 0, 0, 0, 1], OfError::OFPBAC_BAD_LEN),
        (&[0xff, 0xff, 0, 8, 0, 0, 0x12, 0x34], OfError::OFPBAC_BAD_VENDOR),
        (&[0xff, 0xff, 0, 8, 0, 0, 0x23, 0x20], OfError::OFPBAC_BAD_LEN),
        (&[0xff, 0xff, 0, 16, 0, 0, 0x23, 0x20, 3, 0, 0, 0, 0, 0, 0, 0], OfError::OFPBAC_BAD_VENDOR_TYPE),
        (&[0, 0, 0, 16, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0, 0, 0, 0, 0], OfError::OFPBAC_BAD_OUT_PORT),
        (&[0, 17, 0, 8, 0x12, 0x34, 0, 0], OfError::OFPBAC_BAD_ARGUMENT),
        (&[0, 25, 0, 16, 0x80, 0, 3 << 1 | 1, 12, 0, 0, 0, 0, 0, 0, 0, 0], OfError::OFPBMC_BAD_LEN),
        (&[0, 25, 0, 16, 0x80, 0, 3 << 1, 5, 1, 2, 3, 4, 5, 0, 0, 0], OfError::OFPBAC_BAD_SET_LEN),
        (&[0, 25, 0, 16, 0x80, 0, 99 << 1, 2, 0, 0, 0, 0, 0, 0, 0, 0], OfError::OFPBAC_BAD_SET_TYPE),
        (&[0, 25, 0, 16, 0x80, 0, 0, 4, 0, 0, 0, 1, 0, 0, 0, 0], OfError::OFPBAC_BAD_SET_ARGUMENT),
        (&[0, 25, 0, 16, 0x80, 0, 11 << 1, 4, 10, 0, 0, 1, 0, 0, 0, 0], OfError::OFPBAC_MATCH_INCONSISTENT),
        (&[0, 24, 0, 8, 0, 0, 0, 0], OfError::OFPBAC_MATCH_INCONSISTENT),
    ];
    for (actions, error) in cases {
        assert_eq!(decode(&flow_mod(&[], &apply(actions)), false), Err(error), "{actions:02x?}");
    }
}

#[test]
fn bad_instructions_have_their_error() {
    let output = apply(&[0, 0, 0, 16, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0]);
    let goto = [0, 1, 0, 8, 5, 0, 0, 0];
    let cases: [(&[u8], OfError); 8] = [
        (&[0, 99, 0, 8, 0, 0, 0, 0], OfError::OFPBIC_UNKNOWN_INST),
        (&[0xff, 0xff, 0, 8, 0, 0, 0x23, 0x20], OfError::OFPBIC_BAD_EXPERIMENTER),
        (&[0, 1, 0, 16, 5, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], OfError::OFPBIC_BAD_LEN),
        (&[0, 1, 0, 8, 5], OfError::OFPBIC_BAD_LEN),
        (&[goto, goto].concat(), OfError::OFPBIC_DUP_INST),
        (&[0, 1, 0, 8, 0, 0, 0, 0], OfError::OFPBIC_BAD_TABLE_ID),
        (&[0, 6, 0, 8, 0, 0, 0, 0], OfError::OFPMMFC_INVALID_METER),
        (&[&output[..], &output].concat(), OfError::OFPBIC_DUP_INST),
    ];
    for (instructions, error) in cases {
        assert_eq!(decode(&flow_mod(&[], instructions), false), Err(error), "{instructions:02x?}");
    }
}

#[test]
fn lists_in_lists_end_somewhere() {
    let mut actions = Vec::new();
    for _ in 0..1000 {
        let mut outer = vec![0xff, 0xff];
        outer.extend((actions.len() as u16 + 16).to_be_bytes());
        outer.extend([0, 0, 0x23, 0x20, 0, 42, 0, 0, 0, 0, 0, 0]);
        outer.extend(&actions);
        actions = outer;
    }
    assert_eq!(decode(&flow_mod(&[], &apply(&actions)), false), Err(OfError::OFPBAC_TOO_MANY));
}

#[test]
fn bad_messages_have_their_error() {
    let cases = [
        (whole(4, 99, &[]), OfError::OFPBRC_BAD_TYPE),
        (whole(9, 14, &[]), OfError::OFPBRC_BAD_VERSION),
        (whole(4, 5, &[0]), OfError::OFPBRC_BAD_LEN),
        (whole(4, 14, &[0; 20]), OfError::OFPBRC_BAD_LEN),
        (whole(4, 4, &[0, 0, 0x12, 0x34, 0, 0, 0, 0]), OfError::OFPBRC_BAD_VENDOR),
        (whole(4, 4, &[0, 0, 0x23, 0x20, 0, 0, 3, 0]), OfError::OFPBRC_BAD_SUBTYPE),
        (whole(4, 18, &[0, 99, 0, 0, 0, 0, 0, 0]), OfError::OFPBRC_BAD_STAT),
        (whole(4, 24, &[0, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]), OfError::OFPRRFC_BAD_ROLE),
        (whole(4, 29, &[0, 9, 0, 0, 0, 0, 0, 1]), OfError::OFPMMFC_BAD_COMMAND),
        (whole(4, 29, &[0, 0, 0, 3, 0, 0, 0, 1]), OfError::OFPMMFC_BAD_FLAGS),
        (whole(4, 15, &[0, 0, 9, 0, 0, 0, 0, 1]), OfError::OFPGMFC_BAD_TYPE),
        (whole(4, 15, &[0, 3, 0, 0, 0, 0, 0, 1]), OfError::OFPGMFC_BAD_COMMAND),
        (whole(4, 15, &[0, 0, 2, 0, 0, 0, 0, 1]), OfError::OFPGMFC_INVALID_GROUP),
        (whole(5, 33, &[0, 0, 0, 1, 0, 99, 0, 0]), OfError::OFPBFC_BAD_TYPE),
        (whole(5, 34, &[0, 0, 0, 1, 0, 0, 0, 0]), OfError::OFPBFC_MSG_BAD_LEN),
        (whole(5, 34, &[0, 0, 0, 1, 0, 0, 0, 0, 5, 20, 0, 8, 0, 0, 0, 9]), OfError::OFPBFC_MSG_UNSUP),
        (whole(5, 34, &[0, 0, 0, 1, 0, 0, 0, 0, 5, 14, 0, 8, 0, 0, 0, 8]), OfError::OFPBFC_MSG_BAD_XID),
        (whole(5, 28, &[0, 99, 0, 8, 0, 0, 0, 0]), OfError::OFPACFC_UNSUPPORTED),
        (whole(5, 28, &[0, 1, 0, 8, 0xff, 0, 0, 0]), OfError::OFPACFC_INVALID),
    ];
    for (message, error) in cases {
        assert_eq!(decode(&message, false), Err(error), "{message:02x?}");
    }
}

#[test]
fn a_command_of_1_0_holds_a_table_when_that_was_asked_for() {
    let message = bytes(Version::V10, &add("table=7 actions=drop", true));
    let Ok(Message::FlowMod(it)) = decode(&message, true) else { panic!("a flow-mod") };
    assert_eq!((it.table, it.flow.table), (7, 7));
    assert_eq!(decode(&message, false), Err(OfError::OFPFMFC_BAD_COMMAND));
}

#[test]
fn replies_that_do_not_fit_take_several_messages() {
    let Message::FlowMod(it) = add("tcp,tp_dst=80 actions=output:1", false) else { panic!("a flow-mod") };
    let flows = vec![FlowEntry { flow: it.flow, ..FlowEntry::default() }; 3000];
    for version in Version::ALL {
        let reply = Box::new(Reply::Flow { nxm: false, flows: flows.clone() });
        let all = bytes(version, &Message::MultipartReply { more: false, reply });
        let (mut rest, mut count, mut messages, mut last) = (&all[..], 0, 0, true);
        while let Some(header) = Header::read(rest) {
            let (message, behind) = rest.split_at(header.len.into());
            let Ok(Message::MultipartReply { more, reply }) = decode(message, false) else { panic!("a reply") };
            let Reply::Flow { flows, .. } = *reply else { panic!("flows") };
            (count, messages, last, rest) = (count + flows.len(), messages + 1, more, behind);
            assert_eq!(more, !rest.is_empty(), "{version:?}");
        }
        assert_eq!((count, last), (3000, false), "{version:?}");
        assert!(messages > 3, "{version:?}: {messages}");
    }
}

#[test]
fn versions_are_agreed_on_with_and_without_bitmaps() {
    let agreed = |hello: &[u8]| match decode(hello, false) {
        Ok(Message::Hello { versions }) => Version::agreed(Version::BITMAP, versions),
        other => panic!("{other:?}"),
    };
    assert_eq!(agreed(&whole(4, 0, &[])), Some(Version::V13));
    assert_eq!(agreed(&whole(3, 0, &[])), Some(Version::V10));
    assert_eq!(agreed(&whole(9, 0, &[])), Some(Version::V15));
    assert_eq!(agreed(&whole(6, 0, &[0, 1, 0, 8, 0, 0, 0, 0x12])), Some(Version::V13));
    assert_eq!(agreed(&whole(6, 0, &[0, 9, 0, 5, 1, 0, 0, 0, 0, 1, 0, 8, 0, 0, 0, 0x20])), Some(Version::V14));
    assert_eq!(agreed(&whole(255, 0, &[0, 1, 0, 3])), Some(Version::V15));
    assert_eq!(agreed(&whole(2, 0, &[0, 1, 0, 8, 0, 0, 0, 4])), None);
}
