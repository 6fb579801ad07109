// Queue vectors, messages 200–209, by hand from the specification's table 8.1. They must never be made by an
// encoder of ours: whoever changes the wire has to change these bytes by hand as well.

import { spanOf } from "../../protocol/bytes.ts"
import { writeQueueNotice } from "../../protocol/messages/queue.ts"
import { type Column, data, route, wire } from "../kit/vectors.ts"

const Q = "queue://a/b/c"

export const queue: Column = {
  scheme: "queue",
  unparsable: 4006,
  badRoute: { 200: 4006, 202: 4006, 203: 4006, 204: 4006, 207: 4010, 208: 4010 },

  requests: [
    {
      name: "ENQUEUE, every byte in hexadecimal",
      frame: "c8 001b 0000000d 71756575653a2f2f612f622f63 00000005 68656c6c6f 00",
      means: { op: "enqueue", route: Q, body: data('"hello"'), delaySeconds: 0 },
    },
    {
      name: "ENQUEUE with a delay",
      frame: 'c8 0023 0000000d "queue://a/b/c" 00000005 "hello" 01 0000000000000002',
      means: { op: "enqueue", route: Q, body: data('"hello"'), delaySeconds: 2 },
    },
    {
      name: "ENQUEUE with a delay of 0, said",
      frame: 'c8 0023 0000000d "queue://a/b/c" 00000005 "hello" 01 0000000000000000',
      means: { op: "enqueue", route: Q, body: data('"hello"'), delaySeconds: 0 },
    },
    {
      rule: "W-6",
      name: "ENQUEUE with the largest delay that can be written",
      frame: 'c8 001e 0000000d "queue://a/b/c" 00000000 01 ffffffffffffffff',
      means: { op: "enqueue", route: Q, body: data(""), delaySeconds: 2 ** 64 },
    },
    {
      name: "ENQUEUE of nothing",
      frame: 'c8 0016 0000000d "queue://a/b/c" 00000000 00',
      means: { op: "enqueue", route: Q, body: data(""), delaySeconds: 0 },
    },
    {
      rule: "F-3",
      name: "ENQUEUE that fills the frame",
      frame: 'c8 ffff 0000000d "queue://a/b/c" 0000ffe9 00*65513 00',
      means: { op: "enqueue", route: Q, body: data("00*65513"), delaySeconds: 0 },
    },
    {
      rule: "R-9",
      name: "ENQUEUE with segments of two, six and four bytes beyond ASCII",
      frame: "c8 001f 00000016 71756575653a2f2f c3a4 2f e697a5 e69cac 2f f09f9a80 00000000 00",
      means: { op: "enqueue", route: "queue://ä/日本/🚀", body: data(""), delaySeconds: 0 },
    },
    {
      name: "RESERVE",
      frame: 'ca 001b 0000000d "queue://a/b/c" 000000000000001e 00 00',
      means: { op: "reserve", pattern: Q, leaseSeconds: 30, batch: 0, waitSeconds: 0 },
    },
    {
      name: "RESERVE with everything said",
      frame: 'ca 0027 0000000d "queue://a/b/c" 000000000000001e 01 00000400 01 0000000000000005',
      means: { op: "reserve", pattern: Q, leaseSeconds: 30, batch: 1_024, waitSeconds: 5 },
    },
    {
      name: "RESERVE with a wait and no batch",
      frame: 'ca 0023 0000000d "queue://a/b/c" 0000000000000001 00 01 0000000000000002',
      means: { op: "reserve", pattern: Q, leaseSeconds: 1, batch: 0, waitSeconds: 2 },
    },
    {
      rule: "W-6",
      name: "RESERVE with the largest numbers",
      frame: 'ca 0027 0000000d "queue://a/b/c" ffffffffffffffff 01 ffffffff 01 ffffffffffffffff',
      means: {
        op: "reserve",
        pattern: Q,
        leaseSeconds: 2 ** 64,
        batch: 4_294_967_295,
        waitSeconds: 2 ** 64,
      },
    },
    {
      rule: "Q-10",
      name: "RESERVE over a pattern",
      frame: 'ca 001b 0000000d "queue://a/*/c" 000000000000001e 00 00',
      means: { op: "reserve", pattern: "queue://a/*/c", leaseSeconds: 30, batch: 0, waitSeconds: 0 },
    },
    {
      name: "RESERVE over every queue",
      frame: 'ca 0018 0000000a "queue://**" 000000000000001e 00 00',
      means: { op: "reserve", pattern: "queue://**", leaseSeconds: 30, batch: 0, waitSeconds: 0 },
    },
    {
      name: "EXTEND",
      frame: 'cb 0029 0000000d "queue://a/b/c" 0000000000000001 001fffffffffffff 000000000000003c',
      means: { op: "extend", route: Q, id: 1, token: 9_007_199_254_740_991, leaseSeconds: 60 },
    },
    {
      rule: "W-6",
      name: "EXTEND with a token that nobody was given",
      frame: 'cb 0029 0000000d "queue://a/b/c" 0000000000000001 ffffffffffffffff 000000000000003c',
      means: { op: "extend", route: Q, id: 1, token: 2 ** 64, leaseSeconds: 60 },
    },
    {
      name: "COMPLETE",
      frame: 'cc 0021 0000000d "queue://a/b/c" 0000000000000001 00000000deadbeef',
      means: { op: "complete", route: Q, id: 1, token: 3_735_928_559 },
    },
    {
      name: "SUBSCRIBE",
      frame: 'cf 000e 0000000a "queue://**"',
      means: { op: "subscribe", pattern: "queue://**" },
    },
    {
      name: "SUBSCRIBE to one queue",
      frame: 'cf 0011 0000000d "queue://a/b/c"',
      means: { op: "subscribe", pattern: Q },
    },
    {
      name: "UNSUBSCRIBE",
      frame: 'd0 000e 0000000a "queue://**"',
      means: { op: "unsubscribe", pattern: "queue://**" },
    },
  ],

  malformed: [
    { name: "ENQUEUE without a payload", frame: "c8 0000", code: 4006 },
    {
      rule: "W-4",
      name: "ENQUEUE whose flag is 2",
      frame: 'c8 001b 0000000d "queue://a/b/c" 00000005 "hello" 02',
      code: 4006,
    },
    {
      rule: "W-4",
      name: "ENQUEUE whose flag is 2, with a delay",
      frame: 'c8 0023 0000000d "queue://a/b/c" 00000005 "hello" 02 0000000000000002',
      code: 4006,
    },
    {
      rule: "W-7",
      name: "ENQUEUE with a byte too many",
      frame: 'c8 001c 0000000d "queue://a/b/c" 00000005 "hello" 00 00',
      code: 4006,
    },
    {
      rule: "W-7",
      name: "ENQUEUE with a byte after the delay",
      frame: 'c8 0024 0000000d "queue://a/b/c" 00000005 "hello" 01 0000000000000002 00',
      code: 4006,
    },
    {
      rule: "W-3",
      name: "ENQUEUE whose body is longer than the payload",
      frame: 'c8 001b 0000000d "queue://a/b/c" 00000007 "hello" 00',
      code: 4006,
    },
    {
      rule: "W-4",
      name: "RESERVE whose flag for batch is 2",
      frame: 'ca 001b 0000000d "queue://a/b/c" 000000000000001e 02 00',
      code: 4006,
    },
    {
      rule: "W-4",
      name: "RESERVE whose flag for wait is 128",
      frame: 'ca 001b 0000000d "queue://a/b/c" 000000000000001e 00 80',
      code: 4006,
    },
    {
      rule: "W-7",
      name: "RESERVE with a byte too many",
      frame: 'ca 001c 0000000d "queue://a/b/c" 000000000000001e 00 00 00',
      code: 4006,
    },
    {
      rule: "W-7",
      name: "RESERVE with a batch of eight bytes",
      frame: 'ca 0023 0000000d "queue://a/b/c" 000000000000001e 01 0000000000000001 00',
      code: 4006,
    },
    {
      rule: "R-4",
      name: "RESERVE over a pattern that no queue matches",
      frame: 'ca 0019 0000000b "queue://a/*" 000000000000001e 00 00',
      code: 4006,
    },
    {
      rule: "W-7",
      name: "EXTEND with a byte too many",
      frame: 'cb 002a 0000000d "queue://a/b/c" 0000000000000001 0000000000000002 000000000000003c 00',
      code: 4006,
    },
    {
      rule: "R-10",
      name: "EXTEND of a pattern",
      frame: 'cb 0026 0000000a "queue://**" 0000000000000001 0000000000000002 000000000000003c',
      code: 4006,
    },
    {
      rule: "W-7",
      name: "COMPLETE with a byte too many",
      frame: 'cc 0022 0000000d "queue://a/b/c" 0000000000000001 0000000000000002 00',
      code: 4006,
    },
    {
      rule: "W-7",
      name: "COMPLETE with EXTEND's payload",
      frame: 'cc 0029 0000000d "queue://a/b/c" 0000000000000001 0000000000000002 000000000000003c',
      code: 4006,
    },
    {
      rule: "W-7",
      name: "SUBSCRIBE with a byte too many",
      frame: 'cf 000f 0000000a "queue://**" 00',
      code: 4006,
    },
    {
      rule: "R-4",
      name: "SUBSCRIBE to what no queue matches",
      frame: 'cf 000f 0000000b "queue://a/*"',
      code: 4010,
    },
    {
      rule: "W-7",
      name: "UNSUBSCRIBE with a byte too many",
      frame: 'd0 000f 0000000a "queue://**" 00',
      code: 4006,
    },
    {
      rule: "R-4",
      name: "UNSUBSCRIBE of what no queue matches",
      frame: 'd0 000f 0000000b "queue://a/b"',
      code: 4010,
    },
  ],

  replies: [
    { name: "ENQUEUE", type: 200, reply: 1, frame: "c8 0009 00 0000000000000001" },
    {
      name: "RESERVE, nothing",
      type: 202,
      reply: { routed: false, items: [] },
      frame: "ca 0005 00 00000000",
    },
    {
      rule: "Q-10",
      name: "RESERVE, nothing for a pattern",
      type: 202,
      reply: { routed: true, items: [] },
      frame: "ca 0005 00 00000000",
    },
    {
      rule: "Q-10",
      name: "RESERVE of an exact route",
      type: 202,
      reply: {
        routed: false,
        items: [
          { route: route(Q), id: 1, token: 2 ** 53 - 1, body: spanOf(wire('"hello"')) },
          { route: route(Q), id: 2, token: 3, body: spanOf(wire("")) },
        ],
      },
      frame:
        'ca 0032 00 00000002 0000000000000001 001fffffffffffff 00000005 "hello" ' +
        "0000000000000002 0000000000000003 00000000",
    },
    {
      rule: "Q-10",
      name: "RESERVE over a pattern, items with their routes",
      type: 202,
      reply: {
        routed: true,
        items: [
          { route: route(Q), id: 1, token: 9, body: spanOf(wire('"hello"')) },
          { route: route("queue://a/ä/c"), id: 1, token: 10, body: spanOf(wire("00")) },
        ],
      },
      frame:
        'ca 0056 00 00000002 0000000d "queue://a/b/c" 0000000000000001 0000000000000009 00000005 "hello" ' +
        '0000000e "queue://a/ä/c" 0000000000000001 000000000000000a 00000001 00',
    },
    {
      rule: "Q-11",
      name: "RESERVE, a body that fills the frame",
      type: 202,
      reply: {
        routed: false,
        items: [{ route: route(Q), id: 1, token: 1, body: spanOf(wire("ab*65510")) }],
      },
      frame: "ca ffff 00 00000001 0000000000000001 0000000000000001 0000ffe6 ab*65510",
    },
    { name: "EXTEND", type: 203, reply: null, frame: "cb 0001 00" },
    { name: "COMPLETE", type: 204, reply: null, frame: "cc 0001 00" },
    {
      rule: "E-3",
      name: "SUBSCRIBE, with its flag byte",
      type: 207,
      reply: 258,
      frame: "cf 000a 00 01 0000000000000102",
    },
    { name: "UNSUBSCRIBE", type: 208, reply: null, frame: "d0 0001 00" },
  ],

  errors: [
    {
      name: "ENQUEUE, coded",
      type: 200,
      code: 4006,
      text: "wrong",
      frame: 'c8 000e 01 00000fa6 00000005 "wrong"',
    },
    {
      name: "RESERVE, coded",
      type: 202,
      code: 4009,
      text: "denied",
      frame: 'ca 000f 01 00000fa9 00000006 "denied"',
    },
    { name: "EXTEND, plain", type: 203, code: 4001, text: "token", frame: 'cb 000a 01 00000005 "token"' },
    { name: "COMPLETE, plain", type: 204, code: 4003, text: "gone", frame: 'cc 0009 01 00000004 "gone"' },
    { name: "SUBSCRIBE, plain", type: 207, code: 4010, text: "shape", frame: 'cf 000a 01 00000005 "shape"' },
    {
      name: "UNSUBSCRIBE, plain",
      type: 208,
      code: 4009,
      text: "denied",
      frame: 'd0 000b 01 00000006 "denied"',
    },
  ],

  pushes: [
    {
      name: "NOTIFY",
      type: 209,
      id: 258,
      tail: writer => writeQueueNotice(writer, route(Q), 1, 2, 3),
      frame:
        'd1 0031 0000000000000102 0000000d "queue://a/b/c" ' +
        "0000000000000001 0000000000000002 0000000000000003",
    },
  ],
}
