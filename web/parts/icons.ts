// Which picture stands for which domain or view. Pictures only: words stand beside them everywhere, and no picture
// carries a meaning alone.

import {
  Activity,
  BellRing,
  BookOpenCheck,
  CalendarClock,
  ChartLine,
  Database,
  FileCog,
  Gauge,
  KeyRound,
  ListOrdered,
  MailX,
  PhoneCall,
  Plug,
  Waves,
} from "lucide-preact"
import type { Domain } from "../text/words.ts"

export const DOMAIN_ICONS: Readonly<Record<Domain, typeof Activity>> = {
  kv: Database,
  stream: Waves,
  queue: ListOrdered,
  schedule: CalendarClock,
  notice: BellRing,
  rpc: PhoneCall,
  lease: KeyRound,
}

export const VIEW_ICONS = {
  overview: Gauge,
  sessions: Plug,
  definitions: FileCog,
  deadLetters: MailX,
  audit: BookOpenCheck,
  explore: ChartLine,
  status: Activity,
} as const
