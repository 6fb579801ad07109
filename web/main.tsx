// Starts the page: styles, the session of this tab, the first drawing. Nothing else happens here, so that there is
// one place to look for what a load does.

import "./style/tokens.css"
import "./style/base.css"
import "./style/parts.css"
import "./style/views.css"
import "uplot/dist/uPlot.min.css"
import { render } from "preact"
import { App } from "./app.tsx"
import { session } from "./state/session.ts"

void session.begin()
render(<App />, document.getElementById("page")!)
