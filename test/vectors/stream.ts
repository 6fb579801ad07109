// Stream vectors, messages 600–609, by hand from the specification's tables 12.1, 12.2 and 12.4. They must
// never be made by an encoder of ours: whoever changes the wire has to change these bytes by hand as well.

import { spanOf } from "../../protocol/bytes.ts"
import { type Column, data, type MalformedVector, type RequestVector, route, wire } from "../kit/vectors.ts"

const S = "stream://a/b/c"

type Axis = "resource" | "area" | "realm" | "global"

/** What a selector means. */
function selector(
  text: string,
  canonical: string,
  axis: Axis,
  { extended = false, axisInResource = false }: { extended?: boolean; axisInResource?: boolean } = {},
): Readonly<Record<string, unknown>> {
  return { route: text, canonical, axis, extended, axisInResource }
}

const EXACT = selector(S, S, "resource")
const PLAIN_READ = { limit: 100, maxBytes: 65_535, filter: null, fingerprint: null, watermark: null }

/** The ten shapes of table 12.2, each with the length of its text. */
const SELECTORS: readonly {
  length: string
  total: string
  text: string
  means: ReturnType<typeof selector>
}[] = [
  { length: "0000000e", total: "0012", text: S, means: EXACT },
  {
    length: "0000000e",
    total: "0012",
    text: "stream://a/b/*",
    means: selector("stream://a/b/*", "stream://a/b/*", "area"),
  },
  {
    length: "0000000e",
    total: "0012",
    text: "stream://a/*/c",
    means: selector("stream://a/*/c", "stream://a/*/c", "realm", { axisInResource: true }),
  },
  {
    length: "0000000e",
    total: "0012",
    text: "stream://a/*/*",
    means: selector("stream://a/*/*", "stream://a/*/*", "realm"),
  },
  {
    length: "0000000d",
    total: "0011",
    text: "stream://a/**",
    means: selector("stream://a/**", "stream://a/*/*", "realm"),
  },
  {
    length: "0000000e",
    total: "0012",
    text: "stream://*/b/c",
    means: selector("stream://*/b/c", "stream://*/b/c", "global", { axisInResource: true }),
  },
  {
    length: "0000000e",
    total: "0012",
    text: "stream://*/*/c",
    means: selector("stream://*/*/c", "stream://*/*/c", "global", { axisInResource: true }),
  },
  {
    length: "0000000e",
    total: "0012",
    text: "stream://*/b/*",
    means: selector("stream://*/b/*", "stream://*/b/*", "global", { axisInResource: true }),
  },
  {
    length: "0000000e",
    total: "0012",
    text: "stream://*/*/*",
    means: selector("stream://*/*/*", "stream://*/*/*", "global", { extended: true }),
  },
  {
    length: "0000000b",
    total: "000f",
    text: "stream://**",
    means: selector("stream://**", "stream://*/*/*", "global", { extended: true }),
  },
]

/** Shapes that look like selectors and are none. */
const NO_SELECTORS: readonly { length: string; total: string; text: string; why: string }[] = [
  { length: "0000000f", total: "0013", text: "stream://a/b/**", why: "R/A/**" },
  { length: "0000000d", total: "0011", text: "stream://**/c", why: "**/S" },
  { length: "0000000d", total: "0011", text: "stream://*/**", why: "*/**" },
  { length: "0000000f", total: "0013", text: "stream://a/**/c", why: "R/**/S" },
  { length: "0000000c", total: "0010", text: "stream://a/*", why: "two segments" },
  { length: "0000000a", total: "000e", text: "stream://a", why: "one segment" },
  { length: "00000010", total: "0014", text: "stream://a/b/c/d", why: "four segments" },
  { length: "00000013", total: "0017", text: "stream://a/b/c/**/d", why: "a deep double wildcard" },
  { length: "00000016", total: "001a", text: "stream://a/__realm__/c", why: "the reserved area" },
  { length: "00000015", total: "0019", text: "stream://a/b/__area__", why: "the reserved resource" },
]

function readVectors(): RequestVector[] {
  const totals: Readonly<Record<string, string>> = { "0012": "0026", "0011": "0025", "000f": "0023" }
  return SELECTORS.map(({ length, total, text, means }) => ({
    rule: "ST-8",
    name: `READ of ${text}`,
    frame: `ff025c ${totals[total]} ${length} "${text}" 0000000000000005 0000000000000064 00 00 00 00`,
    means: { op: "read", selector: means, from: 5, ...PLAIN_READ },
  }))
}

function badReads(): MalformedVector[] {
  const totals: Readonly<Record<string, string>> = {
    "000e": "0022",
    "0010": "0024",
    "0011": "0025",
    "0013": "0027",
    "0014": "0028",
    "0017": "002b",
    "0019": "002d",
    "001a": "002e",
  }
  return NO_SELECTORS.map(({ length, total, text, why }) => ({
    rule: "ST-8",
    name: `READ of ${why}`,
    frame: `ff025c ${totals[total]} ${length} "${text}" 0000000000000005 0000000000000064 00 00 00 00`,
    code: 2004,
  }))
}

/** READ of stream://a/b/c with a filter of so many bytes. */
function filtered(
  payloadLength: string,
  filterLength: string,
  filter: string,
): { frame: string; filter: string } {
  return {
    frame:
      `ff025c ${payloadLength} 0000000e "stream://a/b/c" 0000000000000000 0000000000000064 ` +
      `00 01 ${filterLength} ${filter} 00 00`,
    filter: data(filter),
  }
}

function filterVector(
  name: string,
  vector: ReturnType<typeof filtered>,
  clauses: readonly { readonly kind: string; readonly values: readonly string[] }[],
): RequestVector {
  return {
    rule: "ST-17",
    name: `READ with ${name}`,
    frame: vector.frame,
    means: {
      op: "read",
      selector: EXACT,
      from: 0,
      ...PLAIN_READ,
      filter: { clauses, bytes: vector.filter },
    },
  }
}

const RECORD = {
  offset: 0,
  area: 1,
  realm: 2,
  global: 3,
  body: spanOf(wire('"event"')),
  meta: null,
  createdAtMs: 1_700_000_000_000,
}
const NO_TOKENS = { fingerprint: null, watermark: null }

export const stream: Column = {
  scheme: "stream",
  unparsable: 2004,
  badRoute: {
    600: 2004,
    601: null,
    602: null,
    603: null,
    604: 2004,
    605: 2004,
    606: 2004,
    607: 2010,
    608: 2010,
  },

  requests: [
    {
      name: "BEGIN, every byte in hexadecimal",
      frame: "ff0258 0013 0000000e 73747265616d3a2f2f612f622f63 00",
      means: { op: "begin", route: S },
    },
    {
      name: "BEGIN with metadata of the ingest",
      frame: 'ff0258 0019 0000000e "stream://a/b/c" 01 00000002 "in"',
      means: { op: "begin", route: S },
    },
    {
      name: "BEGIN with empty metadata of the ingest",
      frame: 'ff0258 0017 0000000e "stream://a/b/c" 01 00000000',
      means: { op: "begin", route: S },
    },
    {
      name: "APPEND",
      frame: 'ff0259 001b 0000000000000001 0000000000000000 00000005 "event" 00 00',
      means: {
        op: "append",
        session: 1,
        expectedOffset: 0,
        body: data('"event"'),
        meta: null,
        discriminator: null,
      },
    },
    {
      name: "APPEND with metadata and discriminator",
      frame:
        'ff0259 002a 0000000000000001 0000000000000007 00000005 "event" 01 00000004 "meta" 01 00000003 "typ"',
      means: {
        op: "append",
        session: 1,
        expectedOffset: 7,
        body: data('"event"'),
        meta: data('"meta"'),
        discriminator: data('"typ"'),
      },
    },
    {
      name: "APPEND of nothing, with an empty discriminator said",
      frame: "ff0259 001a 0000000000000001 0000000000000007 00000000 00 01 00000000",
      means: {
        op: "append",
        session: 1,
        expectedOffset: 7,
        body: data(""),
        meta: null,
        discriminator: data(""),
      },
    },
    {
      rule: "W-6",
      name: "APPEND at the largest offset that can be written",
      frame: "ff0259 0016 ffffffffffffffff ffffffffffffffff 00000000 00 00",
      means: {
        op: "append",
        session: 2 ** 64,
        expectedOffset: 2 ** 64,
        body: data(""),
        meta: null,
        discriminator: null,
      },
    },
    {
      name: "COMMIT Buffered",
      frame: "ff025a 0009 0000000000000001 00",
      means: { op: "commit", session: 1, sync: false },
    },
    {
      name: "COMMIT Sync",
      frame: "ff025a 0009 0000000000000001 01",
      means: { op: "commit", session: 1, sync: true },
    },
    { name: "ROLLBACK", frame: "ff025b 0008 0000000000000001", means: { op: "rollback", session: 1 } },
    ...readVectors(),
    {
      rule: "ST-16",
      name: "READ from 2^64−1, which an empty page at 0 points to",
      frame: 'ff025c 0026 0000000e "stream://a/b/c" ffffffffffffffff 0000000000000001 00 00 00 00',
      means: { op: "read", selector: EXACT, from: 2n ** 64n - 1n, ...PLAIN_READ, limit: 1 },
    },
    {
      rule: "W-6",
      name: "READ from 2^53, the first position that is no plain number",
      frame: 'ff025c 0026 0000000e "stream://a/b/c" 0020000000000000 0000000000000001 00 00 00 00',
      means: { op: "read", selector: EXACT, from: 2n ** 53n, ...PLAIN_READ, limit: 1 },
    },
    {
      rule: "W-6",
      name: "READ from 2^53−1, the last position that is one",
      frame: 'ff025c 0026 0000000e "stream://a/b/c" 001fffffffffffff 0000000000000000 00 00 00 00',
      means: { op: "read", selector: EXACT, from: 2 ** 53 - 1, ...PLAIN_READ, limit: 0 },
    },
    {
      name: "READ with everything said",
      frame:
        'ff025c 0045 0000000b "stream://**" 0000000000000005 000000000000000a 01 0000000000000400 ' +
        "01 00000006 00f100000000 01 0000000000000011 01 0000000000000022",
      means: {
        op: "read",
        selector: selector("stream://**", "stream://*/*/*", "global", { extended: true }),
        from: 5,
        limit: 10,
        maxBytes: 1_024,
        filter: { clauses: [], bytes: data("00f100000000") },
        fingerprint: 17,
        watermark: 34,
      },
    },
    filterVector("an equals clause", filtered("0037", "0000000d", '00f1 00000001 00 00000002 "ab"'), [
      { kind: "equals", values: ["ab"] },
    ]),
    filterVector("a not equals clause", filtered("0037", "0000000d", '00f1 00000001 01 00000002 "ab"'), [
      { kind: "differs", values: ["ab"] },
    ]),
    filterVector("a starts with clause", filtered("0037", "0000000d", '00f1 00000001 02 00000002 "ab"'), [
      { kind: "startsWith", values: ["ab"] },
    ]),
    filterVector(
      "an any of clause",
      filtered("0041", "00000017", '00f1 00000001 03 00000002 00000002 "ab" 00000002 "ä"'),
      [{ kind: "anyOf", values: ["ab", "ä"] }],
    ),
    filterVector("an any of clause of none", filtered("0035", "0000000b", "00f1 00000001 03 00000000"), [
      { kind: "anyOf", values: [] },
    ]),
    filterVector(
      "three clauses",
      filtered("0042", "00000018", '00f1 00000003 00 00000000 01 00000001 "x" 02 00000002 "ab"'),
      [
        { kind: "equals", values: [""] },
        { kind: "differs", values: ["x"] },
        { kind: "startsWith", values: ["ab"] },
      ],
    ),
    { name: "LAST", frame: 'ff025d 0012 0000000e "stream://a/b/c"', means: { op: "last", route: S } },
    {
      name: "GET_METADATA",
      frame: 'ff025e 0012 0000000e "stream://a/b/c"',
      means: { op: "metadata", route: S },
    },
    ...SELECTORS.map(({ length, total, text, means }) => ({
      rule: "ST-8",
      name: `SUBSCRIBE to ${text}`,
      frame: `ff025f ${total} ${length} "${text}"`,
      means: { op: "subscribe", selector: means },
    })),
    {
      rule: "R-2",
      name: "SUBSCRIBE with the longest selector, 512 bytes",
      frame: 'ff025f 0204 00000200 "stream://a/b/" 78*499',
      means: {
        op: "subscribe",
        selector: selector(`stream://a/b/${"x".repeat(499)}`, `stream://a/b/${"x".repeat(499)}`, "resource"),
      },
    },
    {
      name: "UNSUBSCRIBE",
      frame: 'ff0260 000f 0000000b "stream://**"',
      means: {
        op: "unsubscribe",
        selector: selector("stream://**", "stream://*/*/*", "global", { extended: true }),
      },
    },
  ],

  malformed: [
    { name: "BEGIN without a payload", frame: "ff0258 0000", code: 2004 },
    {
      rule: "W-4",
      name: "BEGIN whose flag is 2",
      frame: 'ff0258 0013 0000000e "stream://a/b/c" 02',
      code: 2004,
    },
    {
      rule: "W-4",
      name: "BEGIN without its flag",
      frame: 'ff0258 0012 0000000e "stream://a/b/c"',
      code: 2004,
    },
    {
      rule: "W-7",
      name: "BEGIN with a byte too many",
      frame: 'ff0258 0014 0000000e "stream://a/b/c" 00 00',
      code: 2004,
    },
    { name: "BEGIN on a pattern", frame: 'ff0258 0013 0000000e "stream://a/b/*" 00', code: 2004 },
    {
      rule: "ST-3",
      name: "BEGIN on the reserved area",
      frame: 'ff0258 001b 00000016 "stream://a/__realm__/c" 00',
      code: 2004,
    },
    {
      rule: "ST-3",
      name: "BEGIN on the reserved resource",
      frame: 'ff0258 001a 00000015 "stream://a/b/__area__" 00',
      code: 2004,
    },
    {
      rule: "W-4",
      name: "APPEND whose flag for metadata is 2",
      frame: "ff0259 0016 0000000000000001 0000000000000000 00000000 02 00",
      code: 2004,
    },
    {
      rule: "W-4",
      name: "APPEND whose flag for the discriminator is 2",
      frame: "ff0259 0016 0000000000000001 0000000000000000 00000000 00 02",
      code: 2004,
    },
    {
      rule: "W-2",
      name: "APPEND whose discriminator is not UTF-8",
      frame: "ff0259 001b 0000000000000001 0000000000000000 00000000 00 01 00000001 ff",
      code: 2004,
    },
    {
      rule: "W-2",
      name: "APPEND whose discriminator is an overlong slash",
      frame: "ff0259 001c 0000000000000001 0000000000000000 00000000 00 01 00000002 c0af",
      code: 2004,
    },
    {
      rule: "W-7",
      name: "APPEND with a byte too many",
      frame: "ff0259 0017 0000000000000001 0000000000000000 00000000 00 00 00",
      code: 2004,
    },
    { name: "COMMIT with mode 2", frame: "ff025a 0009 0000000000000001 02", code: 2004 },
    { name: "COMMIT without its mode", frame: "ff025a 0008 0000000000000001", code: 2004 },
    {
      rule: "W-7",
      name: "COMMIT with a byte too many",
      frame: "ff025a 000a 0000000000000001 00 00",
      code: 2004,
    },
    { name: "ROLLBACK without a payload", frame: "ff025b 0000", code: 2004 },
    {
      rule: "W-7",
      name: "ROLLBACK with a byte too many",
      frame: "ff025b 0009 0000000000000001 00",
      code: 2004,
    },
    ...badReads(),
    {
      rule: "ST-8",
      name: "READ of a selector of 513 bytes",
      frame: 'ff025c 0219 00000201 "stream://a/b/" 78*500 0000000000000005 0000000000000064 00 00 00 00',
      code: 2004,
    },
    {
      rule: "W-4",
      name: "READ whose flag for maxBytes is 2",
      frame: 'ff025c 0026 0000000e "stream://a/b/c" 0000000000000005 0000000000000064 02 00 00 00',
      code: 2004,
    },
    {
      rule: "W-4",
      name: "READ whose flag for the watermark is 2",
      frame: 'ff025c 0026 0000000e "stream://a/b/c" 0000000000000005 0000000000000064 00 00 00 02',
      code: 2004,
    },
    {
      rule: "W-7",
      name: "READ with a byte too many",
      frame: 'ff025c 0027 0000000e "stream://a/b/c" 0000000000000005 0000000000000064 00 00 00 00 00',
      code: 2004,
    },
    {
      rule: "ST-17",
      name: "READ with an empty filter",
      frame: filtered("002a", "00000000", "").frame,
      code: 2006,
    },
    {
      rule: "ST-17",
      name: "READ with a filter of another version",
      frame: filtered("0030", "00000006", "00f2 00000000").frame,
      code: 2006,
    },
    {
      rule: "ST-17",
      name: "READ with a filter that ends after its marker",
      frame: filtered("002c", "00000002", "00f1").frame,
      code: 2007,
    },
    {
      rule: "ST-17",
      name: "READ with a filter that promises a clause",
      frame: filtered("0030", "00000006", "00f1 00000001").frame,
      code: 2007,
    },
    {
      rule: "ST-17",
      name: "READ with a filter that promises 2^32−1 clauses",
      frame: filtered("0030", "00000006", "00f1 ffffffff").frame,
      code: 2007,
    },
    {
      rule: "ST-17",
      name: "READ with an any of clause that promises 2^32−1 texts",
      frame: filtered("0035", "0000000b", "00f1 00000001 03 ffffffff").frame,
      code: 2007,
    },
    {
      rule: "ST-17",
      name: "READ with an unknown clause",
      frame: filtered("0035", "0000000b", "00f1 00000001 04 00000000").frame,
      code: 2007,
    },
    {
      rule: "ST-17",
      name: "READ with a filter and a byte after it",
      frame: filtered("0031", "00000007", "00f1 00000000 00").frame,
      code: 2007,
    },
    {
      rule: "ST-17",
      name: "READ with a filter whose text is not UTF-8",
      frame: filtered("0036", "0000000c", "00f1 00000001 00 00000001 ff").frame,
      code: 2007,
    },
    { rule: "ST-25", name: "LAST of a selector", frame: 'ff025d 000f 0000000b "stream://**"', code: 2004 },
    {
      rule: "W-7",
      name: "LAST with a byte too many",
      frame: 'ff025d 0013 0000000e "stream://a/b/c" 00',
      code: 2004,
    },
    {
      rule: "ST-25",
      name: "GET_METADATA of a selector",
      frame: 'ff025e 0012 0000000e "stream://a/b/*"',
      code: 2004,
    },
    {
      rule: "W-7",
      name: "GET_METADATA with a byte too many",
      frame: 'ff025e 0013 0000000e "stream://a/b/c" 00',
      code: 2004,
    },
    ...NO_SELECTORS.map(({ length, total, text, why }) => ({
      rule: "ST-8",
      name: `SUBSCRIBE to ${why}`,
      frame: `ff025f ${total} ${length} "${text}"`,
      code: 2010,
    })),
    {
      rule: "ST-8",
      name: "SUBSCRIBE to a selector of 513 bytes",
      frame: 'ff025f 0205 00000201 "stream://a/b/" 78*500',
      code: 2010,
    },
    {
      rule: "W-7",
      name: "SUBSCRIBE with a byte too many",
      frame: 'ff025f 0013 0000000e "stream://a/b/c" 00',
      code: 2004,
    },
    {
      rule: "W-7",
      name: "UNSUBSCRIBE with a byte too many",
      frame: 'ff0260 0013 0000000e "stream://a/b/c" 00',
      code: 2004,
    },
  ],

  replies: [
    { name: "BEGIN", type: 600, reply: 5, frame: "ff0258 0009 00 0000000000000005" },
    {
      name: "APPEND, inner length 8",
      type: 601,
      reply: 0,
      frame: "ff0259 000d 00 00000008 0000000000000000",
    },
    {
      rule: "W-6",
      name: "APPEND, an offset above 2^32",
      type: 601,
      reply: 2 ** 40 + 1,
      frame: "ff0259 000d 00 00000008 0000010000000001",
    },
    { name: "COMMIT", type: 602, reply: null, frame: "ff025a 0001 00" },
    { name: "ROLLBACK", type: 603, reply: null, frame: "ff025b 0001 00" },
    {
      rule: "ST-16",
      name: "READ, the empty page at 0 that points to 2^64−1",
      type: 604,
      reply: {
        extended: false,
        items: [],
        cursor: {
          resource: 2n ** 64n - 1n,
          area: null,
          realm: null,
          global: null,
          more: false,
          ...NO_TOKENS,
        },
      },
      frame: "ff025c 0015 00 00 0000000f 00000000 ffffffffffffffff 00 00 00",
    },
    {
      rule: "ST-10",
      name: "READ, compact: one event",
      type: 604,
      reply: {
        extended: false,
        items: [{ route: route(S), record: RECORD, hiddenOffset: 0 }],
        cursor: { resource: 0, area: 1, realm: 2, global: null, more: true, ...NO_TOKENS },
      },
      frame:
        'ff025c 0064 00 00 0000005e 00000001 0000000e "stream://a/b/c" 00 ' +
        '0000000000000000 01 0000000000000001 01 0000000000000002 00000005 "event" 00 0000018bcfe56800 ' +
        "0000000000000000 01 0000000000000001 01 0000000000000002 01",
    },
    {
      rule: "ST-18",
      name: "READ, compact: an event and an offset that the filter hid",
      type: 604,
      reply: {
        extended: false,
        items: [
          { route: route(S), record: { ...RECORD, meta: spanOf(wire('"m"')) }, hiddenOffset: 0 },
          { route: route(S), record: null, hiddenOffset: 1 },
        ],
        cursor: { resource: 1, area: null, realm: null, global: null, more: false, ...NO_TOKENS },
      },
      frame:
        'ff025c 0075 00 00 0000006f 00000002 0000000e "stream://a/b/c" 00 ' +
        '0000000000000000 01 0000000000000001 01 0000000000000002 00000005 "event" 01 00000001 "m" ' +
        '0000018bcfe56800 0000000e "stream://a/b/c" 01 0000000000000001 01 ' +
        "0000000000000001 00 00 00",
    },
    {
      rule: "ST-10",
      name: "READ, extended: global offsets and no continuation",
      type: 604,
      reply: {
        extended: true,
        items: [{ route: route(S), record: RECORD, hiddenOffset: 0 }],
        cursor: { resource: 3, area: null, realm: null, global: 3, more: false, ...NO_TOKENS },
      },
      frame:
        'ff025c 0068 00 00 00000062 00000001 0000000e "stream://a/b/c" 00 ' +
        "0000000000000000 01 0000000000000001 01 0000000000000002 01 0000000000000003 " +
        '00000005 "event" 00 0000018bcfe56800 ' +
        "0000000000000003 00 00 01 0000000000000003 00 00 00",
    },
    {
      rule: "ST-10",
      name: "READ, extended: an empty page with its continuation",
      type: 604,
      reply: {
        extended: true,
        items: [],
        cursor: {
          resource: 8,
          area: null,
          realm: null,
          global: 8,
          more: true,
          fingerprint: 17,
          watermark: 9,
        },
      },
      frame:
        "ff025c 0030 00 00 0000002a 00000000 0000000000000008 00 00 01 0000000000000008 01 " +
        "01 0000000000000011 01 0000000000000009",
    },
    { rule: "ST-19", name: "LAST, of an empty stream", type: 605, reply: null, frame: "ff025d 0001 00" },
    {
      name: "LAST, a compact record",
      type: 605,
      reply: RECORD,
      frame:
        "ff025d 002d 00 0000000000000000 01 0000000000000001 01 0000000000000002 " +
        '00000005 "event" 00 0000018bcfe56800',
    },
    {
      rule: "ST-19",
      name: "GET_METADATA, of an empty stream",
      type: 606,
      reply: { first: null, last: null, count: 0, areaWatermark: 0, realmWatermark: 0 },
      frame:
        "ff025e 002c 00 00 00 0000000000000000 0000000000002710 0000000000a00000 00 " +
        "0000000000000000 0000000000000000",
    },
    {
      name: "GET_METADATA",
      type: 606,
      reply: { first: 0, last: 4, count: 5, areaWatermark: 9, realmWatermark: 12 },
      frame:
        "ff025e 003c 00 01 0000000000000000 01 0000000000000004 0000000000000005 0000000000002710 " +
        "0000000000a00000 00 0000000000000009 000000000000000c",
    },
    {
      rule: "E-3",
      name: "SUBSCRIBE, with its flag byte",
      type: 607,
      reply: 6,
      frame: "ff025f 000a 00 01 0000000000000006",
    },
    { name: "UNSUBSCRIBE", type: 608, reply: null, frame: "ff0260 0001 00" },
  ],

  errors: [
    { name: "BEGIN, plain", type: 600, code: 2002, text: "open", frame: 'ff0258 0009 01 00000004 "open"' },
    {
      name: "APPEND, plain",
      type: 601,
      code: 2001,
      text: "offset",
      frame: 'ff0259 000b 01 00000006 "offset"',
    },
    {
      name: "COMMIT, coded",
      type: 602,
      code: 2003,
      text: "gone",
      frame: 'ff025a 000d 01 000007d3 00000004 "gone"',
    },
    {
      name: "ROLLBACK, coded",
      type: 603,
      code: 2003,
      text: "gone",
      frame: 'ff025b 000d 01 000007d3 00000004 "gone"',
    },
    {
      name: "READ, coded",
      type: 604,
      code: 2004,
      text: "bound",
      frame: 'ff025c 000e 01 000007d4 00000005 "bound"',
    },
    {
      name: "LAST, coded",
      type: 605,
      code: 2009,
      text: "denied",
      frame: 'ff025d 000f 01 000007d9 00000006 "denied"',
    },
    {
      name: "GET_METADATA, coded",
      type: 606,
      code: 2012,
      text: "disk",
      frame: 'ff025e 000d 01 000007dc 00000004 "disk"',
    },
    {
      name: "SUBSCRIBE, coded",
      type: 607,
      code: 2011,
      text: "limit",
      frame: 'ff025f 000e 01 000007db 00000005 "limit"',
    },
    {
      name: "UNSUBSCRIBE, coded",
      type: 608,
      code: 2010,
      text: "shape",
      frame: 'ff0260 000e 01 000007da 00000005 "shape"',
    },
  ],

  pushes: [
    {
      name: "NOTIFY",
      type: 609,
      id: 6,
      tail: writer => {
        writer.block(route(S).bytes)
        writer.block(wire(`'{"event":"committed"}'`))
      },
      frame: `ff0261 0033 0000000000000006 0000000e "stream://a/b/c" 00000015 '{"event":"committed"}'`,
    },
  ],
}
