// Lease vectors, messages 400–409, by hand from the specification's table 10.1. They must never be made by an
// encoder of ours: whoever changes the wire has to change these bytes by hand as well.

import { writeLeaseNotice } from "../../protocol/messages/lease.ts"
import { type Column, route } from "../kit/vectors.ts"

const L = "lease://a/b/c"

export const lease: Column = {
  scheme: "lease",
  unparsable: 5008,
  badRoute: { 400: 5008, 401: 5008, 402: 5008, 403: 5008, 407: 5010, 408: 5010 },

  requests: [
    {
      name: "ACQUIRE as the client sends it, every byte in hexadecimal",
      frame: "ff0190 0021 0000000d 6c656173653a2f2f612f622f63 00000000 000000000000001e 00000000",
      means: { op: "acquire", route: L, owner: "", ttlSeconds: 30, waitSeconds: 0 },
      shorter: [
        { without: 4, means: { op: "acquire", route: L, owner: "", ttlSeconds: 30, waitSeconds: 0 } },
      ],
    },
    {
      rule: "L-2",
      name: "ACQUIRE without a wait",
      frame: 'ff0190 001d 0000000d "lease://a/b/c" 00000000 000000000000001e',
      means: { op: "acquire", route: L, owner: "", ttlSeconds: 30, waitSeconds: 0 },
    },
    {
      rule: "W-2",
      name: "ACQUIRE with a wait and an owner beyond ASCII",
      frame: 'ff0190 0025 0000000d "lease://a/b/c" 00000004 f09f9a80 0000000000000001 0000001e',
      means: { op: "acquire", route: L, owner: "🚀", ttlSeconds: 1, waitSeconds: 30 },
      shorter: [
        { without: 4, means: { op: "acquire", route: L, owner: "🚀", ttlSeconds: 1, waitSeconds: 0 } },
      ],
    },
    {
      rule: "W-6",
      name: "ACQUIRE with the largest numbers that can be written",
      frame: 'ff0190 0021 0000000d "lease://a/b/c" 00000000 ffffffffffffffff ffffffff',
      means: { op: "acquire", route: L, owner: "", ttlSeconds: 2 ** 64, waitSeconds: 4_294_967_295 },
      shorter: [
        { without: 4, means: { op: "acquire", route: L, owner: "", ttlSeconds: 2 ** 64, waitSeconds: 0 } },
      ],
    },
    {
      name: "RENEW",
      frame: 'ff0191 0025 0000000d "lease://a/b/c" 00000000 0000000000000007 000000000000003c',
      means: { op: "renew", route: L, owner: "", token: 7, ttlSeconds: 60 },
    },
    {
      rule: "W-6",
      name: "RENEW with an owner and the largest token that a broker gives out",
      frame: 'ff0191 0027 0000000d "lease://a/b/c" 00000002 "me" 001fffffffffffff 000000000000003c',
      means: { op: "renew", route: L, owner: "me", token: 9_007_199_254_740_991, ttlSeconds: 60 },
    },
    {
      name: "RELEASE",
      frame: 'ff0192 001d 0000000d "lease://a/b/c" 00000000 0000000000000007',
      means: { op: "release", route: L, owner: "", token: 7 },
    },
    {
      rule: "W-6",
      name: "RELEASE with a token that nobody was given",
      frame: 'ff0192 001d 0000000d "lease://a/b/c" 00000000 ffffffffffffffff',
      means: { op: "release", route: L, owner: "", token: 2 ** 64 },
    },
    { name: "QUERY", frame: 'ff0193 0011 0000000d "lease://a/b/c"', means: { op: "query", route: L } },
    {
      name: "SUBSCRIBE",
      frame: 'ff0197 0011 0000000d "lease://a/b/c"',
      means: { op: "subscribe", pattern: L },
    },
    {
      rule: "L-17",
      name: "SUBSCRIBE to a pattern, which the newest servers take",
      frame: 'ff0197 0011 0000000d "lease://a/*/c"',
      means: { op: "subscribe", pattern: "lease://a/*/c" },
    },
    {
      name: "UNSUBSCRIBE",
      frame: 'ff0198 0011 0000000d "lease://a/b/c"',
      means: { op: "unsubscribe", pattern: L },
    },
  ],

  malformed: [
    { name: "ACQUIRE without a payload", frame: "ff0190 0000", code: 5008 },
    {
      rule: "L-2",
      name: "ACQUIRE with half a wait",
      frame: 'ff0190 001f 0000000d "lease://a/b/c" 00000000 000000000000001e 0000',
      code: 5008,
    },
    {
      rule: "W-7",
      name: "ACQUIRE with a byte too many",
      frame: 'ff0190 0022 0000000d "lease://a/b/c" 00000000 000000000000001e 00000000 00',
      code: 5008,
    },
    {
      rule: "W-7",
      name: "ACQUIRE with a wait of eight bytes",
      frame: 'ff0190 0025 0000000d "lease://a/b/c" 00000000 000000000000001e 0000000000000000',
      code: 5008,
    },
    {
      rule: "W-2",
      name: "ACQUIRE whose owner is not UTF-8",
      frame: 'ff0190 0022 0000000d "lease://a/b/c" 00000001 ff 000000000000001e 00000000',
      code: 5008,
    },
    {
      rule: "W-2",
      name: "ACQUIRE whose owner is a surrogate in UTF-8's clothes",
      frame: 'ff0190 0024 0000000d "lease://a/b/c" 00000003 eda080 000000000000001e 00000000',
      code: 5008,
    },
    {
      rule: "W-3",
      name: "ACQUIRE whose owner is longer than the payload",
      frame: 'ff0190 0021 0000000d "lease://a/b/c" 0000000d 000000000000001e 00000000',
      code: 5008,
    },
    {
      rule: "R-10",
      name: "ACQUIRE of a pattern",
      frame: 'ff0190 0021 0000000d "lease://a/*/c" 00000000 000000000000001e 00000000',
      code: 5008,
    },
    {
      rule: "W-7",
      name: "RENEW with a byte too many",
      frame: 'ff0191 0026 0000000d "lease://a/b/c" 00000000 0000000000000007 000000000000003c 00',
      code: 5008,
    },
    {
      rule: "W-7",
      name: "RELEASE with RENEW's payload",
      frame: 'ff0192 0025 0000000d "lease://a/b/c" 00000000 0000000000000007 000000000000003c',
      code: 5008,
    },
    {
      rule: "W-7",
      name: "QUERY with a byte too many",
      frame: 'ff0193 0012 0000000d "lease://a/b/c" 00',
      code: 5008,
    },
    { rule: "R-10", name: "QUERY of a pattern", frame: 'ff0193 000e 0000000a "lease://**"', code: 5008 },
    {
      rule: "W-7",
      name: "SUBSCRIBE with a byte too many",
      frame: 'ff0197 0012 0000000d "lease://a/b/c" 00',
      code: 5008,
    },
    {
      rule: "L-17",
      name: "SUBSCRIBE to what no lease matches",
      frame: 'ff0197 000f 0000000b "lease://a/b"',
      code: 5010,
    },
    {
      rule: "W-7",
      name: "UNSUBSCRIBE with a byte too many",
      frame: 'ff0198 0012 0000000d "lease://a/b/c" 00',
      code: 5008,
    },
  ],

  replies: [
    {
      name: "ACQUIRE, acquired",
      type: 400,
      reply: { kind: 0, token: 1 },
      frame: "ff0190 000a 00 00 0000000000000001",
    },
    {
      name: "ACQUIRE, already held",
      type: 400,
      reply: { kind: 1, token: 256 },
      frame: "ff0190 000a 00 01 0000000000000100",
    },
    {
      name: "ACQUIRE, queued",
      type: 400,
      reply: { kind: 2, token: 2 ** 53 - 1 },
      frame: "ff0190 000a 00 02 001fffffffffffff",
    },
    {
      name: "ACQUIRE, already queued",
      type: 400,
      reply: { kind: 3, token: 2 ** 32 },
      frame: "ff0190 000a 00 03 0000000100000000",
    },
    { name: "RENEW", type: 401, reply: 7, frame: "ff0191 0009 00 0000000000000007" },
    { name: "RELEASE", type: 402, reply: null, frame: "ff0192 0001 00" },
    {
      name: "QUERY, free",
      type: 403,
      reply: { holder: null, waiters: 0 },
      frame: "ff0193 0006 00 00 00000000",
    },
    {
      name: "QUERY, held by the empty owner",
      type: 403,
      reply: { holder: { owner: "", ttlSecondsLeft: 29 }, waiters: 2 },
      frame: "ff0193 0012 00 01 00000000 000000000000001d 00000002",
    },
    {
      rule: "W-2",
      name: "QUERY, held by an owner beyond ASCII",
      type: 403,
      reply: { holder: { owner: "Ümit", ttlSecondsLeft: 0 }, waiters: 0 },
      frame: 'ff0193 0017 00 01 00000005 "Ümit" 0000000000000000 00000000',
    },
    { name: "SUBSCRIBE, no flag byte", type: 407, reply: 9, frame: "ff0197 0009 00 0000000000000009" },
    { name: "UNSUBSCRIBE", type: 408, reply: null, frame: "ff0198 0001 00" },
  ],

  errors: [
    {
      name: "ACQUIRE, coded",
      type: 400,
      code: 5001,
      text: "held",
      frame: 'ff0190 000d 01 00001389 00000004 "held"',
    },
    {
      rule: "L-8",
      name: "ACQUIRE, the second frame of a wait that is over",
      type: 400,
      code: 5006,
      text: "over",
      frame: 'ff0190 000d 01 0000138e 00000004 "over"',
    },
    {
      name: "RENEW, coded",
      type: 401,
      code: 5003,
      text: "late",
      frame: 'ff0191 000d 01 0000138b 00000004 "late"',
    },
    {
      name: "RELEASE, coded",
      type: 402,
      code: 5002,
      text: "stale",
      frame: 'ff0192 000e 01 0000138a 00000005 "stale"',
    },
    {
      name: "QUERY, coded",
      type: 403,
      code: 5009,
      text: "denied",
      frame: 'ff0193 000f 01 00001391 00000006 "denied"',
    },
    {
      name: "SUBSCRIBE, coded",
      type: 407,
      code: 5010,
      text: "shape",
      frame: 'ff0197 000e 01 00001392 00000005 "shape"',
    },
    {
      name: "UNSUBSCRIBE, coded",
      type: 408,
      code: 5008,
      text: "wrong",
      frame: 'ff0198 000e 01 00001390 00000005 "wrong"',
    },
  ],

  pushes: [
    {
      name: "NOTIFY, which carries nothing",
      type: 409,
      id: 9,
      tail: writer => writeLeaseNotice(writer, route(L)),
      frame: 'ff0199 001d 0000000000000009 0000000d "lease://a/b/c" 00000000',
    },
  ],
}
