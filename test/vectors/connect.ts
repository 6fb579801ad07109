// Vectors of what comes before any domain: CONNECT, the inner frame, the outer frame, the three envelopes. By
// hand from the specification's sections 2, 3.1 and 6.1; never made by an encoder of ours.

import type { FrameFault } from "../../protocol/frame.ts"

/** A frame that stands alone. */
export interface FrameVector {
  readonly rule: string
  readonly name: string
  readonly frame: string
  readonly type: number
  readonly payload: string
}

export const frames: readonly FrameVector[] = [
  { rule: "C-1", name: "CONNECT without a token", frame: "01 0000", type: 1, payload: "" },
  {
    rule: "C-1",
    name: "CONNECT with a token and no length in front of it",
    frame: '01 000b "eyJh.eyJz.c"',
    type: 1,
    payload: '"eyJh.eyJz.c"',
  },
  { rule: "F-1", name: "type 0, a byte like any other", frame: "00 0000", type: 0, payload: "" },
  { rule: "F-1", name: "type 254, the last of one byte", frame: "fe 0001 2a", type: 254, payload: "2a" },
  {
    rule: "F-1",
    name: "type 255, the first of three bytes",
    frame: "ff00ff 0001 2a",
    type: 255,
    payload: "2a",
  },
  { rule: "F-1", name: "type 65,535, the last of all", frame: "ffffff 0000", type: 65_535, payload: "" },
  {
    rule: "F-3",
    name: "the longest payload behind a type of one byte",
    frame: "64 ffff aa*65535",
    type: 100,
    payload: "aa*65535",
  },
  {
    rule: "F-3",
    name: "the longest frame, 65,540 bytes",
    frame: "ff01f4 ffff aa*65535",
    type: 500,
    payload: "aa*65535",
  },
]

/** A stream of outer frames, as raw TCP carries them. */
export interface StreamVector {
  readonly rule: string
  readonly name: string
  readonly bytes: string
  readonly frames: readonly { readonly type: number; readonly payload: string }[]
  /** What is wrong after those, which closes the connection; null for nothing. */
  readonly fault: FrameFault | null
  /** Bytes of a frame that has begun are left. */
  readonly rest?: boolean
}

export const streams: readonly StreamVector[] = [
  {
    rule: "F-6",
    name: "CONNECT and a request in one piece",
    bytes: '00000003 01 0000 00000013 64 0010 0000000a "kv://a/b/c" 01 01',
    frames: [
      { type: 1, payload: "" },
      { type: 100, payload: '0000000a "kv://a/b/c" 01 01' },
    ],
    fault: null,
  },
  {
    rule: "F-3",
    name: "the longest outer frame, 65,540",
    bytes: "00010004 ff01f4 ffff aa*65535",
    frames: [{ type: 500, payload: "aa*65535" }],
    fault: null,
  },
  {
    rule: "F-6",
    name: "half an outer length",
    bytes: "00000003 01 0000 0000",
    frames: [{ type: 1, payload: "" }],
    fault: null,
    rest: true,
  },
  {
    rule: "F-6",
    name: "all of a frame but its last byte",
    bytes: "00000004 fe 0001",
    frames: [],
    fault: null,
    rest: true,
  },
  { rule: "F-4", name: "an outer length of 0", bytes: "00000000", frames: [], fault: "outer_length" },
  {
    rule: "F-4",
    name: "an outer length of 65,541, one too many",
    bytes: "00010005",
    frames: [],
    fault: "outer_length",
  },
  { rule: "F-4", name: "an outer length of 4 GiB", bytes: "ffffffff", frames: [], fault: "outer_length" },
  {
    rule: "F-4",
    name: "an outer length of 4 GiB after a good frame",
    bytes: "00000003 01 0000 ffffffff",
    frames: [{ type: 1, payload: "" }],
    fault: "outer_length",
  },
  {
    rule: "F-2",
    name: "the escape with a type that one byte holds",
    bytes: "00000005 ff00fe 0000",
    frames: [],
    fault: "type_escape",
  },
  {
    rule: "F-2",
    name: "the escape with type 0",
    bytes: "00000005 ff0000 0000",
    frames: [],
    fault: "type_escape",
  },
  {
    rule: "F-2",
    name: "the escape with the type of CONNECT",
    bytes: "00000005 ff0001 0000",
    frames: [],
    fault: "type_escape",
  },
  {
    rule: "F-5",
    name: "an outer frame too short for a type and a length",
    bytes: "00000002 01 00",
    frames: [],
    fault: "inner_length",
  },
  {
    rule: "F-5",
    name: "an outer frame too short for an escape and a length",
    bytes: "00000004 ff01f4 00",
    frames: [],
    fault: "inner_length",
  },
  {
    rule: "F-5",
    name: "an inner length longer than the outer frame",
    bytes: "00000004 01 0002 2a",
    frames: [],
    fault: "inner_length",
  },
  {
    rule: "F-5",
    name: "an inner length shorter than the outer frame",
    bytes: "00000005 01 0001 2a2a",
    frames: [],
    fault: "inner_length",
  },
  {
    rule: "F-5",
    name: "two inner frames in one outer frame",
    bytes: "00000006 01 0000 01 0000",
    frames: [],
    fault: "inner_length",
  },
  {
    rule: "F-2",
    name: "nothing is read behind a fault",
    bytes: "00000005 ff0001 0000 00000003 01 0000",
    frames: [],
    fault: "type_escape",
  },
]

/** A WebSocket message, which is one inner frame and nothing else. */
export interface MessageVector {
  readonly rule: string
  readonly name: string
  readonly message: string
  readonly frame: { readonly type: number; readonly payload: string } | null
  readonly fault: FrameFault | null
}

export const messages: readonly MessageVector[] = [
  {
    rule: "T-13",
    name: "one inner frame",
    message: '64 0010 0000000a "kv://a/b/c" 01 01',
    frame: { type: 100, payload: '0000000a "kv://a/b/c" 01 01' },
    fault: null,
  },
  {
    rule: "F-3",
    name: "the longest inner frame",
    message: "ff01f4 ffff aa*65535",
    frame: { type: 500, payload: "aa*65535" },
    fault: null,
  },
  { rule: "F-5", name: "an empty message", message: "", frame: null, fault: "outer_length" },
  {
    rule: "F-5",
    name: "a frame cut across messages",
    message: "64 0010 0000",
    frame: null,
    fault: "inner_length",
  },
  {
    rule: "F-5",
    name: "two frames in one message",
    message: "01 0000 01 0000",
    frame: null,
    fault: "inner_length",
  },
  {
    rule: "F-5",
    name: "an outer length in front, as raw TCP has it",
    message: "00000003 01 0000",
    frame: null,
    fault: "inner_length",
  },
  { rule: "F-2", name: "a malformed escape", message: "ff00fe 0000", frame: null, fault: "type_escape" },
]

/** Types that a client must not send: unassigned, the server's own, or of newer servers. */
export const foreignTypes: readonly number[] = [
  0, 2, 3, 4, 5, 6, 99, 111, 112, 199, 201, 205, 206, 209, 210, 254, 255, 299, 304, 305, 399, 404, 405, 406,
  409, 410, 499, 504, 505, 599, 609, 610, 699, 705, 706, 707, 708, 999, 1_023, 1_024, 65_534, 65_535,
]

/** Table 6.2 and 6.3: which envelope the client decodes for which type. */
export const envelopes: Readonly<Record<"plain" | "coded" | "none", readonly number[]>> = {
  plain: [100, 101, 102, 103, 104, 105, 106, 107, 108, 203, 204, 207, 208, 600, 601, 700, 701, 703, 704],
  coded: [
    109, 110, 200, 202, 300, 301, 400, 401, 402, 403, 407, 408, 501, 502, 503, 602, 603, 604, 605, 606, 607,
    608, 702,
  ],
  none: [302, 303, 500],
}

/** Table 6.3: what the server alone may send. */
export const pushTypes: readonly number[] = [111, 209, 409, 504, 609, 705]
