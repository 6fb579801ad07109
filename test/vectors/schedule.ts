// Schedule vectors, messages 700–705, by hand from the specification's table 13.1. They must never be made by
// an encoder of ours: whoever changes the wire has to change these bytes by hand as well.

import { writeScheduleNotice } from "../../protocol/messages/schedule.ts"
import { type Column, data, route, wire } from "../kit/vectors.ts"

const T = "schedule://a/b/c/d"

export const schedule: Column = {
  scheme: "schedule",
  unparsable: 7004,
  badRoute: { 700: 7005, 701: 7005, 702: null, 703: 7006, 704: 7006 },

  requests: [
    {
      name: "CREATE Broadcast, every byte in hexadecimal",
      frame:
        "ff02bc 002c 00000012 7363686564756c653a2f2f612f622f632f64 00000009 2a202a202a202a202a 00 00000004 70696e67",
      means: { op: "create", route: T, cron: "* * * * *", single: false, payload: data('"ping"') },
    },
    {
      name: "CREATE Single, without a payload",
      frame: 'ff02bc 0030 00000012 "schedule://a/b/c/d" 00000011 "*/5 0-6 1,15 * 1 " 01 00000000',
      means: { op: "create", route: T, cron: "*/5 0-6 1,15 * 1 ", single: true, payload: data("") },
    },
    {
      name: "CREATE with a cron that the domain will refuse",
      frame: 'ff02bc 0028 00000012 "schedule://a/b/c/d" 00000009 c3a4 20 2a 20 2a 20 2a 20 00 00000000',
      means: { op: "create", route: T, cron: "ä * * * ", single: false, payload: data("") },
    },
    {
      rule: "SC-14",
      name: "CREATE with the largest payload that a LIST reply can carry",
      frame: 'ff02bc fff4 00000012 "schedule://a/b/c/d" 00000009 "* * * * *" 00 0000ffcc 77*65484',
      means: { op: "create", route: T, cron: "* * * * *", single: false, payload: data("77*65484") },
    },
    { name: "CANCEL", frame: 'ff02bd 0016 00000012 "schedule://a/b/c/d"', means: { op: "cancel", route: T } },
    {
      rule: "SC-4",
      name: "LIST",
      frame: "ff02be 0002 00 00",
      means: { op: "list", offset: 0, limit: 100 },
    },
    {
      rule: "SC-4",
      name: "LIST with offset and limit",
      frame: "ff02be 0012 01 0000000000000064 01 00000000000003e8",
      means: { op: "list", offset: 100, limit: 1_000 },
    },
    {
      rule: "SC-4",
      name: "LIST with limit 0: as many as fit",
      frame: "ff02be 000a 00 01 0000000000000000",
      means: { op: "list", offset: 0, limit: 0 },
    },
    {
      rule: "SC-4",
      name: "LIST with the largest numbers",
      frame: "ff02be 0012 01 ffffffffffffffff 01 ffffffffffffffff",
      means: { op: "list", offset: 2 ** 64, limit: 2 ** 64 },
    },
    {
      name: "SUBSCRIBE",
      frame: 'ff02bf 0011 0000000d "schedule://**"',
      means: { op: "subscribe", pattern: "schedule://**" },
    },
    {
      name: "SUBSCRIBE with single wildcards",
      frame: 'ff02bf 0016 00000012 "schedule://a/*/c/*"',
      means: { op: "subscribe", pattern: "schedule://a/*/c/*" },
    },
    {
      name: "UNSUBSCRIBE",
      frame: 'ff02c0 0016 00000012 "schedule://a/b/c/d"',
      means: { op: "unsubscribe", pattern: T },
    },
  ],

  malformed: [
    { name: "CREATE without a payload", frame: "ff02bc 0000", code: 7004 },
    {
      rule: "SC-3",
      name: "CREATE with mode 2",
      frame: 'ff02bc 002c 00000012 "schedule://a/b/c/d" 00000009 "* * * * *" 02 00000004 "ping"',
      code: 7008,
    },
    {
      rule: "SC-3",
      name: "CREATE with mode 255",
      frame: 'ff02bc 002c 00000012 "schedule://a/b/c/d" 00000009 "* * * * *" ff 00000004 "ping"',
      code: 7008,
    },
    {
      rule: "W-2",
      name: "CREATE whose cron is not UTF-8",
      frame: 'ff02bc 0020 00000012 "schedule://a/b/c/d" 00000001 80 00 00000000',
      code: 7004,
    },
    {
      rule: "W-7",
      name: "CREATE with a byte too many",
      frame: 'ff02bc 002d 00000012 "schedule://a/b/c/d" 00000009 "* * * * *" 00 00000004 "ping" 00',
      code: 7004,
    },
    {
      rule: "SC-14",
      name: "CREATE of one byte more than a LIST reply can carry",
      frame: 'ff02bc fff5 00000012 "schedule://a/b/c/d" 00000009 "* * * * *" 00 0000ffcd 77*65485',
      code: 7004,
    },
    {
      rule: "R-3",
      name: "CREATE on a route of three segments",
      frame: 'ff02bc 0026 00000010 "schedule://a/b/c" 00000009 "* * * * *" 00 00000000',
      code: 7005,
    },
    {
      rule: "R-10",
      name: "CREATE on a pattern",
      frame: 'ff02bc 0028 00000012 "schedule://a/b/c/*" 00000009 "* * * * *" 00 00000000',
      code: 7005,
    },
    {
      rule: "W-7",
      name: "CANCEL with a byte too many",
      frame: 'ff02bd 0017 00000012 "schedule://a/b/c/d" 00',
      code: 7004,
    },
    { rule: "R-10", name: "CANCEL of a pattern", frame: 'ff02bd 0011 0000000d "schedule://**"', code: 7005 },
    { rule: "SC-4", name: "LIST without a payload", frame: "ff02be 0000", code: 7004 },
    { rule: "W-4", name: "LIST whose flag for offset is 2", frame: "ff02be 0002 02 00", code: 7004 },
    { rule: "W-4", name: "LIST whose flag for limit is 2", frame: "ff02be 0002 00 02", code: 7004 },
    { rule: "W-7", name: "LIST with a byte too many", frame: "ff02be 0003 00 00 00", code: 7004 },
    {
      rule: "W-7",
      name: "SUBSCRIBE with a byte too many",
      frame: 'ff02bf 0012 0000000d "schedule://**" 00',
      code: 7004,
    },
    {
      rule: "R-4",
      name: "SUBSCRIBE to what no schedule matches",
      frame: 'ff02bf 0014 00000010 "schedule://a/b/c"',
      code: 7006,
    },
    {
      rule: "R-4",
      name: "SUBSCRIBE with five segments beside a double wildcard",
      frame: 'ff02bf 001b 00000017 "schedule://a/b/c/d/e/**"',
      code: 7006,
    },
    {
      rule: "W-7",
      name: "UNSUBSCRIBE with a byte too many",
      frame: 'ff02c0 0017 00000012 "schedule://a/b/c/d" 00',
      code: 7004,
    },
  ],

  replies: [
    { name: "CREATE, without an id", type: 700, reply: null, frame: "ff02bc 0001 00" },
    { name: "CANCEL", type: 701, reply: null, frame: "ff02bd 0001 00" },
    {
      rule: "SC-4",
      name: "LIST, nothing",
      type: 702,
      reply: { total: 0, entries: [] },
      frame: "ff02be 000a 00 0000000000000000 00",
    },
    {
      rule: "SC-4",
      name: "LIST, two of five",
      type: 702,
      reply: {
        total: 5,
        entries: [
          { route: route(T), cron: "* * * * *", single: false, payload: wire('"ping"') },
          { route: route("schedule://a/b/c/e"), cron: "0 0 * * *", single: true, payload: wire("") },
        ],
      },
      frame:
        'ff02be 0060 00 0000000000000005 01 00000012 "schedule://a/b/c/d" 00000009 "* * * * *" 00 00000004 "ping" ' +
        '01 00000012 "schedule://a/b/c/e" 00000009 "0 0 * * *" 01 00000000 00',
    },
    {
      rule: "SC-4",
      name: "LIST, an entry that fills the frame",
      type: 702,
      reply: {
        total: 1,
        entries: [{ route: route(T), cron: "* * * * *", single: false, payload: wire("77*65484") }],
      },
      frame:
        'ff02be ffff 00 0000000000000001 01 00000012 "schedule://a/b/c/d" 00000009 "* * * * *" 00 ' +
        "0000ffcc 77*65484 00",
    },
    {
      rule: "E-3",
      name: "SUBSCRIBE, with its flag byte",
      type: 703,
      reply: 4,
      frame: "ff02bf 000a 00 01 0000000000000004",
    },
    { name: "UNSUBSCRIBE", type: 704, reply: null, frame: "ff02c0 0001 00" },
  ],

  errors: [
    { name: "CREATE, plain", type: 700, code: 7002, text: "cron", frame: 'ff02bc 0009 01 00000004 "cron"' },
    {
      name: "CANCEL, plain",
      type: 701,
      code: 7009,
      text: "denied",
      frame: 'ff02bd 000b 01 00000006 "denied"',
    },
    {
      rule: "E-2",
      name: "LIST, coded",
      type: 702,
      code: 7004,
      text: "wrong",
      frame: 'ff02be 000e 01 00001b5c 00000005 "wrong"',
    },
    {
      name: "SUBSCRIBE, plain",
      type: 703,
      code: 7006,
      text: "shape",
      frame: 'ff02bf 000a 01 00000005 "shape"',
    },
    {
      name: "UNSUBSCRIBE, plain",
      type: 704,
      code: 7006,
      text: "shape",
      frame: 'ff02c0 000a 01 00000005 "shape"',
    },
  ],

  pushes: [
    {
      name: "NOTIFY",
      type: 705,
      id: 4,
      tail: writer => writeScheduleNotice(writer, route(T), wire('"ping"')),
      frame: 'ff02c1 0026 0000000000000004 00000012 "schedule://a/b/c/d" 00000004 "ping"',
    },
    {
      name: "NOTIFY without a payload",
      type: 705,
      id: 4,
      tail: writer => writeScheduleNotice(writer, route(T), wire("")),
      frame: 'ff02c1 0022 0000000000000004 00000012 "schedule://a/b/c/d" 00000000',
    },
  ],
}
