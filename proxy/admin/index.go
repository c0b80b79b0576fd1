// SPDX-License-Identifier: Apache-2.0

package admin

import (
	"fmt"
	"html"
	"net/http"
)

// The page is written without html/template, on purpose: a program that calls it
// reaches methods by their names, and so the linker keeps every method of every type,
// which made the binary a third larger.
const (
	indexHead = `<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>Weir Admin</title>
<style>
body { font-family: sans-serif; font-size: medium; }
table { border-collapse: collapse; }
td, th { padding: 3px 8px; text-align: left; vertical-align: top; }
tr:nth-child(even) { background: #eee; }
form { margin: 0; }
</style>
</head>
<body>
<table>
<thead><tr><th>Command</th><th>Description</th></tr></thead>
<tbody>
`
	indexReads   = "<tr><td><a href=\"%[1]s\">%[1]s</a></td><td>%[2]s</td></tr>\n"
	indexChanges = "<tr><td><form action=\"%[1]s\" method=\"post\"><button>%[1]s</button></form></td><td>%[2]s</td></tr>\n"
	indexFoot    = `</tbody>
</table>
</body>
</html>
`
)

// serveIndex is the home page: a link to what reads, a button for what changes.
func (a *Admin) serveIndex(w *answer, _ *http.Request) {
	w.header.Set("Content-Type", "text/html; charset=UTF-8")
	w.header.Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; frame-ancestors 'none'")
	w.body.WriteString(indexHead)
	for _, e := range a.endpoints {
		if e.path == "/" {
			continue
		}
		row := indexReads
		if e.changes {
			row = indexChanges
		}
		// Relative links work behind a proxy that serves the page below a path of its own.
		fmt.Fprintf(&w.body, row, html.EscapeString(e.path[1:]), html.EscapeString(e.help))
	}
	w.body.WriteString(indexFoot)
}
