// Who ordered what, and what came of it: the records that this process remembers, newest first. It never calls
// them complete: the log is.

import { AuditList } from "../parts/lists.tsx"
import { Panel } from "../parts/panel.tsx"

export function Audit() {
  return (
    <>
      <div class="heading">
        <div>
          <h1>Audit</h1>
          <p>
            Every command that was given to this process over HTTP, refused ones too, as many as it remembers.
            The broker's log, and the audit file where one is set, keep them all.
          </p>
        </div>
      </div>
      <Panel flush>
        <AuditList />
      </Panel>
    </>
  )
}
