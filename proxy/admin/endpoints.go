// SPDX-License-Identifier: Apache-2.0

package admin

import "net/http"

// readers are the endpoints that change nothing.
func (a *Admin) readers() []endpoint {
	format := param{"format", "File format to use", []string{"text", "json"}}
	statsParams := []param{
		{"usedonly", "Only include stats that have been written since restart", nil},
		{"filter", "Regular expression (RE2) for filtering stats", nil},
		{"histogram_buckets", "Histogram bucket display mode", []string{"cumulative", "disjoint", "detailed", "summary"}},
	}
	return []endpoint{
		{path: "/", help: "Admin home page", serve: a.serveIndex},
		{path: "/certs", help: "print certs on machine", serve: a.serveCerts},
		{path: "/clusters", help: "upstream cluster status", params: []param{format}, serve: a.serveClusters},
		{path: "/config_dump", help: "dump current configuration", serve: a.serveConfigDump, params: []param{
			{"resource", "The resource to dump", nil},
			{"mask", "The mask to apply, as a field mask. With resource, it is applied to every element of the field", nil},
			{"name_regex", "Dump only configurations whose names match the regex", nil},
			{"include_eds", "Dump EDS endpoints too", nil},
		}},
		{path: "/contention", help: "dump mutex contention stats", serve: a.serveContention},
		{path: "/debug/pprof/", help: "Go's profiles", serve: func(*answer, *http.Request) {}},
		{path: "/help", help: "print out list of admin commands", serve: func(w *answer, _ *http.Request) { a.help(w) }},
		{path: "/hot_restart_version", help: "print the hot restart compatibility version", serve: a.serveHotRestartVersion},
		{path: "/init_dump", help: "dump what is not initialized yet", serve: a.serveInitDump, params: []param{
			{"mask", "The component to dump: listener", nil},
		}},
		{path: "/listeners", help: "print listener info", params: []param{format}, serve: a.serveListeners},
		{path: "/memory", help: "print current allocation/heap usage", serve: a.serveMemory},
		{path: "/ready", help: "print server state, return 200 if LIVE, otherwise return 503", serve: a.serveReady},
		{path: "/runtime", help: "print runtime values", serve: a.serveRuntime},
		{path: "/server_info", help: "print server version/status information", serve: a.serveServerInfo},
		{path: "/stats", help: "print server stats", serve: a.serveStats, params: append(statsParams,
			param{"format", "Format to use", []string{"json", "prometheus", "text"}},
			param{"type", "Stat types to include", []string{"All", "Counters", "Gauges", "Histograms", "TextReadouts"}},
			param{"text_readouts", "Render text readouts as gauges with value 0 (prometheus)", nil})},
		{path: "/stats/prometheus", help: "print server stats in prometheus format", serve: a.servePrometheus, params: append(statsParams[:2:2],
			param{"histogram_buckets", "Histogram bucket display mode", []string{"cumulative", "summary"}},
			param{"text_readouts", "Render text readouts as gauges with value 0", nil})},
		{path: "/stats/recentlookups", help: "Show recent stat-name lookups (not kept)", serve: a.serveRecentLookups},
	}
}

// changers are the endpoints that need POST.
func (a *Admin) changers() []endpoint {
	list := []endpoint{
		{path: "/drain_listeners", help: "drain listeners", serve: a.serveDrainListeners, params: []param{
			{"graceful", "Keep accepting for the drain time before listeners close", nil},
			{"skip_exit", "Do not close the listeners after the drain time. Needs graceful", nil},
			{"inboundonly", "Drain only listeners whose traffic_direction is INBOUND", nil},
		}},
		{path: "/healthcheck/fail", help: "cause the server to fail health checks", serve: func(w *answer, _ *http.Request) {
			a.server.FailHealthcheck(true)
			w.text("OK\n")
		}},
		{path: "/healthcheck/ok", help: "cause the server to pass health checks", serve: func(w *answer, _ *http.Request) {
			a.server.FailHealthcheck(false)
			w.text("OK\n")
		}},
		{path: "/quitquitquit", help: "exit the server", serve: func(w *answer, _ *http.Request) {
			a.server.Quit()
			w.text("OK\n")
		}},
		{path: "/reopen_logs", help: "reopen access logs", serve: func(w *answer, _ *http.Request) {
			a.server.ReopenLogs()
			w.text("OK\n")
		}},
		{path: "/reset_counters", help: "reset all counters to zero", serve: func(w *answer, _ *http.Request) {
			a.server.Stats().ResetCounters()
			w.text("OK\n")
		}},
		{path: "/runtime_modify", help: "Adds or modifies runtime values as passed in query parameters. To delete a previously added key, use an empty string as the value. E.g. ?key1=value1&key2=value2...", serve: a.serveRuntimeModify},
		{path: "/stats/recentlookups/clear", help: "clear list of stat-name lookups (not kept)", serve: a.serveNoLookups},
		{path: "/stats/recentlookups/disable", help: "disable recording of stat-name lookups (not kept)", serve: a.serveNoLookups},
		{path: "/stats/recentlookups/enable", help: "enable recording of stat-name lookups (not kept)", serve: a.serveNoLookups},
		{path: "/tap", help: "not supported", serve: func(w *answer, _ *http.Request) {
			w.fail(http.StatusNotImplemented, "tapping is not supported: requests cannot be streamed out through this interface\n")
		}},
	}
	for i := range list {
		list[i].changes = true
	}
	// Reading levels changes nothing, so here the method is looked at only with parameters.
	return append(list, endpoint{path: "/logging", help: "query/change logging levels (changing needs POST)", serve: a.serveLogging, params: []param{
		{"paths", "Change multiple logging levels by setting to <name1>:<level1>,<name2>:<level2>", nil},
		{"level", "desired logging level, this will change all loggers' level", Levels()},
		{"<name>", "desired level of the logger of this name", nil},
	}})
}

// profilers are the endpoints that write profiles to a file.
func (a *Admin) profilers() []endpoint {
	enable := []param{{"enable", "start, or stop and write the file", []string{"y", "n"}}}
	return []endpoint{
		{path: "/cpuprofiler", help: "enable/disable the CPU profiler", changes: true, params: enable, serve: a.serveCPUProfiler},
		{path: "/heapprofiler", help: "enable/disable the heap profiler", changes: true, params: enable, serve: a.serveHeapProfiler},
	}
}
