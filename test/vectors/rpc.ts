// RPC vectors, messages 300–303, by hand from the specification's tables 9.1 and 9.3. They must never be made
// by an encoder of ours: whoever changes the wire has to change these bytes by hand as well.

import { type Column, characters } from "../kit/vectors.ts"

const ID = characters("00112233445566778899aabbccddeeff")

export const rpc: Column = {
  scheme: "rpc",
  unparsable: 6010,
  badRoute: { 300: 6012, 301: 6012, 302: 6011, 303: null },

  requests: [
    {
      name: "SUBSCRIBE_WORKER, every byte in hexadecimal",
      frame: "ff012c 0013 0000000b 7270633a2f2f612f622f63 00000001",
      means: { op: "register", pattern: "rpc://a/b/c", credit: 1 },
    },
    {
      rule: "RPC-3",
      name: "SUBSCRIBE_WORKER for every route with the largest credit",
      frame: 'ff012c 0010 00000008 "rpc://**" 00000400',
      means: { op: "register", pattern: "rpc://**", credit: 1_024 },
    },
    {
      rule: "R-3",
      name: "SUBSCRIBE_WORKER for a route of one segment",
      frame: 'ff012c 000f 00000007 "rpc://a" 00000002',
      means: { op: "register", pattern: "rpc://a", credit: 2 },
    },
    {
      name: "UNSUBSCRIBE_WORKER",
      frame: 'ff012d 000f 0000000b "rpc://a/*/c"',
      means: { op: "unregister", pattern: "rpc://a/*/c" },
    },
    {
      name: "REQUEST",
      frame: 'ff012e 0028 00112233445566778899aabbccddeeff 0000000b "rpc://a/b/c" 00000005 "hello"',
      means: {
        op: "call",
        correlation: ID,
        route: "rpc://a/b/c",
        payload: "0x00112233445566778899aabbccddeeff0000000b7270633a2f2f612f622f630000000568656c6c6f",
      },
    },
    {
      rule: "R-3",
      name: "REQUEST to a route of one segment, without a body",
      frame: 'ff012e 001f 00000000000000000000000000000000 00000007 "rpc://a" 00000000',
      means: {
        op: "call",
        correlation: characters("00*16"),
        route: "rpc://a",
        payload: "0x00000000000000000000000000000000000000077270633a2f2f6100000000",
      },
    },
    {
      rule: "R-3",
      name: "REQUEST to a route of 64 segments",
      frame: 'ff012e 009d ff*16 00000085 "rpc://" 612f*63 61 00000000',
      means: {
        op: "call",
        correlation: characters("ff*16"),
        route: `rpc://${"a/".repeat(63)}a`,
        payload: `0x${"ff".repeat(16)}000000857270633a2f2f${"612f".repeat(63)}6100000000`,
      },
    },
    {
      name: "RESPONSE, a frame with more to come",
      frame: 'ff012f 001f 00112233445566778899aabbccddeeff 0000000000000000 00 00000002 "ok"',
      means: {
        op: "answer",
        correlation: ID,
        sequence: 0,
        last: false,
        payload: "0x00112233445566778899aabbccddeeff000000000000000000000000026f6b",
      },
    },
    {
      name: "RESPONSE, the last frame, empty",
      frame: "ff012f 001d 00112233445566778899aabbccddeeff 0000000000000001 01 00000000",
      means: {
        op: "answer",
        correlation: ID,
        sequence: 1,
        last: true,
        payload: "0x00112233445566778899aabbccddeeff00000000000000010100000000",
      },
    },
    {
      rule: "W-6",
      name: "RESPONSE with the largest sequence number that can be written",
      frame: "ff012f 001d 00112233445566778899aabbccddeeff ffffffffffffffff 01 00000000",
      means: {
        op: "answer",
        correlation: ID,
        sequence: 2 ** 64,
        last: true,
        payload: "0x00112233445566778899aabbccddeeffffffffffffffffff0100000000",
      },
    },
    {
      name: "RESPONSE that fills the frame",
      frame: "ff012f ffff 00112233445566778899aabbccddeeff 0000000000000000 01 0000ffe2 cd*65506",
      means: {
        op: "answer",
        correlation: ID,
        sequence: 0,
        last: true,
        payload: `0x00112233445566778899aabbccddeeff0000000000000000010000ffe2${"cd".repeat(65_506)}`,
      },
    },
  ],

  malformed: [
    { name: "SUBSCRIBE_WORKER without a payload", frame: "ff012c 0000", code: 6010 },
    {
      rule: "RPC-3",
      name: "SUBSCRIBE_WORKER without credit",
      frame: 'ff012c 0013 0000000b "rpc://a/b/c" 00000000',
      code: 6010,
    },
    {
      rule: "RPC-3",
      name: "SUBSCRIBE_WORKER with a credit of 1,025",
      frame: 'ff012c 0013 0000000b "rpc://a/b/c" 00000401',
      code: 6010,
    },
    {
      rule: "RPC-3",
      name: "SUBSCRIBE_WORKER with a credit of 2^32−1",
      frame: 'ff012c 0013 0000000b "rpc://a/b/c" ffffffff',
      code: 6010,
    },
    {
      rule: "P-6",
      name: "SUBSCRIBE_WORKER with a pattern that is none and no credit: the pattern is judged first",
      frame: 'ff012c 0013 0000000b "rpc://a//cc" 00000000',
      code: 6012,
    },
    {
      rule: "W-7",
      name: "SUBSCRIBE_WORKER with a byte too many",
      frame: 'ff012c 0014 0000000b "rpc://a/b/c" 00000001 00',
      code: 6010,
    },
    {
      rule: "W-7",
      name: "UNSUBSCRIBE_WORKER with a byte too many",
      frame: 'ff012d 0010 0000000b "rpc://a/b/c" 00',
      code: 6010,
    },
    {
      rule: "RPC-19",
      name: "REQUEST over a pattern",
      frame: 'ff012e 0023 00112233445566778899aabbccddeeff 0000000b "rpc://a/*/c" 00000000',
      code: 6011,
    },
    {
      rule: "RPC-19",
      name: "REQUEST with a byte too many",
      frame: 'ff012e 0024 00112233445566778899aabbccddeeff 0000000b "rpc://a/b/c" 00000000 00',
      code: 6010,
    },
    {
      rule: "RPC-19",
      name: "REQUEST whose body is longer than the payload",
      frame: 'ff012e 0023 00112233445566778899aabbccddeeff 0000000b "rpc://a/b/c" 00000001',
      code: 6010,
    },
    { rule: "RPC-19", name: "REQUEST without a payload", frame: "ff012e 0000", code: 6010 },
    {
      rule: "RPC-18",
      name: "RESPONSE with bit 1 of its flags set",
      frame: "ff012f 001d 00112233445566778899aabbccddeeff 0000000000000000 02 00000000",
      code: 6010,
    },
    {
      rule: "RPC-18",
      name: "RESPONSE with the last bit and a reserved one",
      frame: "ff012f 001d 00112233445566778899aabbccddeeff 0000000000000000 03 00000000",
      code: 6010,
    },
    {
      rule: "RPC-18",
      name: "RESPONSE with the highest bit of its flags set",
      frame: "ff012f 001d 00112233445566778899aabbccddeeff 0000000000000000 80 00000000",
      code: 6010,
    },
    {
      rule: "RPC-10",
      name: "RESPONSE with a byte too many",
      frame: "ff012f 001e 00112233445566778899aabbccddeeff 0000000000000000 01 00000000 00",
      code: 6010,
    },
    { rule: "RPC-10", name: "RESPONSE without a payload", frame: "ff012f 0000", code: 6010 },
  ],

  replies: [
    { name: "SUBSCRIBE_WORKER", type: 300, reply: null, frame: "ff012c 0001 00" },
    { name: "UNSUBSCRIBE_WORKER", type: 301, reply: null, frame: "ff012d 0001 00" },
  ],

  errors: [
    {
      name: "SUBSCRIBE_WORKER, coded",
      type: 300,
      code: 6012,
      text: "shape",
      frame: 'ff012c 000e 01 0000177c 00000005 "shape"',
    },
    {
      name: "UNSUBSCRIBE_WORKER, coded",
      type: 301,
      code: 6009,
      text: "denied",
      frame: 'ff012d 000f 01 00001779 00000006 "denied"',
    },
    {
      rule: "RPC-14",
      name: "REQUEST, as the last 303 of the call",
      type: 302,
      code: 6009,
      text: "denied",
      payload: '00112233445566778899aabbccddeeff 0000000b "rpc://a/b/c" 00000000',
      frame:
        "ff012f 002c 00112233445566778899aabbccddeeff 0000000000000000 01 " +
        '0000000f 01 00001779 00000006 "denied"',
    },
    {
      rule: "RPC-19",
      name: "REQUEST that was too short for a correlation id: what is missing is zero",
      type: 302,
      code: 6010,
      text: "short",
      payload: "001122",
      frame:
        "ff012f 002b 00112200000000000000000000000000 0000000000000000 01 " +
        '0000000e 01 0000177a 00000005 "short"',
    },
    { name: "RESPONSE, never answered", type: 303, code: 6010, text: "wrong", frame: null },
  ],

  // 302 and 303 go on as they came; that is proved with the lane in test/vectors/replies.test.ts.
  pushes: [],
}
