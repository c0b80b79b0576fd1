// SPDX-License-Identifier: Apache-2.0

package admin

import (
	"io"
	"net/http"
	"regexp"

	"weir.dev/weir/proxy/stats"
)

const prometheusType = "text/plain; version=0.0.4; charset=utf-8"

// serveStats is /stats, in the format asked for.
func (a *Admin) serveStats(w *answer, r *http.Request) {
	o, ok := statsOptions(w, r)
	if !ok {
		return
	}
	a.server.FlushStats()
	store := a.server.Stats()
	switch format := r.URL.Query().Get("format"); format {
	case "", "text":
		w.stream = func(to io.Writer) error { return store.WriteText(to, o) }
	case "json":
		w.header.Set("Content-Type", "application/json")
		w.stream = func(to io.Writer) error { return store.WriteJSON(to, o) }
	case "prometheus":
		a.writePrometheus(w, r, o)
	case "html", "active-html":
		w.fail(http.StatusBadRequest, "HTML output is not built in; use format=text, json or prometheus\n")
	default:
		w.fail(http.StatusBadRequest, "usage: /stats?format=(json|prometheus|text)\n\n")
	}
}

// servePrometheus is /stats/prometheus.
func (a *Admin) servePrometheus(w *answer, r *http.Request) {
	if o, ok := statsOptions(w, r); ok {
		a.server.FlushStats()
		a.writePrometheus(w, r, o)
	}
}

func (a *Admin) writePrometheus(w *answer, _ *http.Request, o stats.Options) {
	if o.Histograms == stats.Disjoint || o.Histograms == stats.Detailed {
		w.fail(http.StatusBadRequest, "unsupported prometheus histogram bucket mode; use cumulative or summary\n")
		return
	}
	w.header.Set("Content-Type", prometheusType)
	w.stream = func(to io.Writer) error { return a.server.Stats().WritePrometheus(to, o) }
}

// statsOptions reads the query parameters of /stats.
func statsOptions(w *answer, r *http.Request) (o stats.Options, ok bool) {
	q := r.URL.Query()
	o.UsedOnly = q.Has("usedonly")
	o.TextReadouts = q.Has("text_readouts")
	if f := q.Get("filter"); f != "" {
		re, err := regexp.Compile(f)
		if err != nil {
			w.fail(http.StatusBadRequest, "Invalid re2 regex")
			return o, false
		}
		o.Filter = re
	}
	switch q.Get("histogram_buckets") {
	case "", "none":
	case "cumulative":
		o.Histograms = stats.Cumulative
	case "disjoint":
		o.Histograms = stats.Disjoint
	case "detailed":
		o.Histograms = stats.Detailed
	case "summary":
		o.Histograms = stats.Summary
	default:
		w.fail(http.StatusBadRequest, "usage: /stats?histogram_buckets=(cumulative|disjoint|detailed|summary)\n")
		return o, false
	}
	if q.Has("type") {
		kinds := map[string]stats.Kind{
			"Counters": stats.KindCounter, "Gauges": stats.KindGauge, "Histograms": stats.KindHistogram, "TextReadouts": stats.KindText,
		}
		kind, known := kinds[q.Get("type")]
		if !known && q.Get("type") != "All" {
			w.fail(http.StatusBadRequest, "invalid &type= param")
			return o, false
		}
		if known {
			o.Only = &kind
		}
	}
	return o, true
}

func (a *Admin) serveRecentLookups(w *answer, _ *http.Request) {
	w.text("Lookups are not kept: statistics are not looked up by name while requests are served.\n\ntotal: 0\n")
}

func (a *Admin) serveNoLookups(w *answer, _ *http.Request) {
	w.fail(http.StatusNotImplemented, "lookups are not kept: statistics are not looked up by name while requests are served\n")
}
