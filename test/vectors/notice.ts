// Notice vectors, messages 500–504, by hand from the specification's table in section 11. They must never be
// made by an encoder of ours: whoever changes the wire has to change these bytes by hand as well.

import { type Column, wire } from "../kit/vectors.ts"

const N = "notice://a/b/c"

export const notice: Column = {
  scheme: "notice",
  unparsable: 3005,
  badRoute: { 500: 3001, 501: 3002, 502: null, 503: null },

  requests: [
    {
      name: "PUBLISH, every byte in hexadecimal",
      frame: "ff01f4 001b 0000000e 6e6f746963653a2f2f612f622f63 00000005 68656c6c6f",
      means: {
        op: "publish",
        route: N,
        payload: "0x0000000e6e6f746963653a2f2f612f622f630000000568656c6c6f",
      },
    },
    {
      name: "PUBLISH of nothing",
      frame: 'ff01f4 0016 0000000e "notice://a/b/c" 00000000',
      means: { op: "publish", route: N, payload: "0x0000000e6e6f746963653a2f2f612f622f6300000000" },
    },
    {
      rule: "N-9",
      name: "PUBLISH to a route of one segment",
      frame: 'ff01f4 0012 0000000a "notice://a" 00000000',
      means: { op: "publish", route: "notice://a", payload: "0x0000000a6e6f746963653a2f2f6100000000" },
    },
    {
      rule: "N-9",
      name: "PUBLISH to a route of 64 segments",
      frame: 'ff01f4 0090 00000088 "notice://" 612f*63 61 00000000',
      means: {
        op: "publish",
        route: `notice://${"a/".repeat(63)}a`,
        payload: `0x000000886e6f746963653a2f2f${"612f".repeat(63)}6100000000`,
      },
    },
    {
      rule: "N-8",
      name: "PUBLISH that fills the frame",
      frame: 'ff01f4 ffff 0000000e "notice://a/b/c" 0000ffe9 ee*65513',
      means: {
        op: "publish",
        route: N,
        payload: `0x0000000e6e6f746963653a2f2f612f622f630000ffe9${"ee".repeat(65_513)}`,
      },
    },
    {
      name: "SUBSCRIBE to everything",
      frame: 'ff01f5 000f 0000000b "notice://**"',
      means: { op: "subscribe", pattern: "notice://**" },
    },
    {
      name: "SUBSCRIBE to a pattern of five segments",
      frame: 'ff01f5 0017 00000013 "notice://a/*/c/**/e"',
      means: { op: "subscribe", pattern: "notice://a/*/c/**/e" },
    },
    {
      name: "SUBSCRIBE to one route",
      frame: 'ff01f5 0012 0000000e "notice://a/b/c"',
      means: { op: "subscribe", pattern: N },
    },
    { name: "UNSUBSCRIBE", frame: "ff01f6 0008 0000000000000003", means: { op: "unsubscribeId", id: 3 } },
    {
      rule: "N-6",
      name: "UNSUBSCRIBE of an id that nobody was given",
      frame: "ff01f6 0008 ffffffffffffffff",
      means: { op: "unsubscribeId", id: 2 ** 64 },
    },
    { rule: "N-7", name: "UNSUBSCRIBE_ALL", frame: "ff01f7 0000", means: { op: "unsubscribeAll" } },
  ],

  malformed: [
    { rule: "N-5", name: "PUBLISH without a payload", frame: "ff01f4 0000", code: 3005 },
    {
      rule: "N-5",
      name: "PUBLISH without a body",
      frame: 'ff01f4 0012 0000000e "notice://a/b/c"',
      code: 3005,
    },
    {
      rule: "N-5",
      name: "PUBLISH with a byte too many",
      frame: 'ff01f4 0017 0000000e "notice://a/b/c" 00000000 00',
      code: 3005,
    },
    {
      rule: "N-5",
      name: "PUBLISH to a pattern",
      frame: 'ff01f4 0013 0000000b "notice://**" 00000000',
      code: 3001,
    },
    { name: "SUBSCRIBE without a payload", frame: "ff01f5 0000", code: 3005 },
    {
      rule: "W-7",
      name: "SUBSCRIBE with a byte too many",
      frame: 'ff01f5 0013 0000000e "notice://a/b/c" 00',
      code: 3005,
    },
    {
      rule: "R-5",
      name: "SUBSCRIBE to two wildcards in a row",
      frame: 'ff01f5 0012 0000000e "notice://**/**"',
      code: 3002,
    },
    { name: "UNSUBSCRIBE without a payload", frame: "ff01f6 0000", code: 3005 },
    { name: "UNSUBSCRIBE by pattern", frame: 'ff01f6 000f 0000000b "notice://**"', code: 3005 },
    {
      rule: "W-7",
      name: "UNSUBSCRIBE with a byte too many",
      frame: "ff01f6 0009 0000000000000003 00",
      code: 3005,
    },
    { rule: "W-7", name: "UNSUBSCRIBE_ALL with a byte", frame: "ff01f7 0001 00", code: 3005 },
  ],

  replies: [
    {
      name: "SUBSCRIBE, with its flag byte",
      type: 501,
      reply: 3,
      frame: "ff01f5 000a 00 01 0000000000000003",
    },
    { name: "UNSUBSCRIBE", type: 502, reply: null, frame: "ff01f6 0001 00" },
    { rule: "N-7", name: "UNSUBSCRIBE_ALL", type: 503, reply: null, frame: "ff01f7 0001 00" },
  ],

  errors: [
    { rule: "N-1", name: "PUBLISH, never answered", type: 500, code: 3009, text: "denied", frame: null },
    {
      name: "SUBSCRIBE, coded",
      type: 501,
      code: 3002,
      text: "shape",
      frame: 'ff01f5 000e 01 00000bba 00000005 "shape"',
    },
    {
      name: "UNSUBSCRIBE, coded",
      type: 502,
      code: 3005,
      text: "wrong",
      frame: 'ff01f6 000e 01 00000bbd 00000005 "wrong"',
    },
    {
      name: "UNSUBSCRIBE_ALL, coded",
      type: 503,
      code: 3005,
      text: "wrong",
      frame: 'ff01f7 000e 01 00000bbd 00000005 "wrong"',
    },
  ],

  pushes: [
    {
      rule: "N-8",
      name: "NOTIFY, route and body as they were published",
      type: 504,
      id: 3,
      tail: writer => writer.raw(wire('0000000e "notice://a/b/c" 00000005 "hello"')),
      frame: 'ff01f8 0023 0000000000000003 0000000e "notice://a/b/c" 00000005 "hello"',
    },
    {
      rule: "N-8",
      name: "NOTIFY that fills the frame",
      type: 504,
      id: 3,
      tail: writer => writer.raw(wire('0000000e "notice://a/b/c" 0000ffe1 ee*65505')),
      frame: 'ff01f8 ffff 0000000000000003 0000000e "notice://a/b/c" 0000ffe1 ee*65505',
    },
  ],
}
