// SPDX-License-Identifier: Apache-2.0

package admin

import (
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"
)

func (a *Admin) serveDrainListeners(w *answer, r *http.Request) {
	q := r.URL.Query()
	o := DrainOptions{Graceful: q.Has("graceful"), SkipExit: q.Has("skip_exit"), InboundOnly: q.Has("inboundonly")}
	if o.SkipExit && !o.Graceful {
		w.fail(http.StatusBadRequest, "skip_exit requires graceful\n")
		return
	}
	a.server.DrainListeners(o)
	w.text("OK\n")
}

// serveLogging is /logging: levels are listed for anyone and changed by POST.
func (a *Admin) serveLogging(w *answer, r *http.Request) {
	q := r.URL.Query()
	// The form of the home page sends the field for all levels even if it is left empty.
	for _, k := range []string{"level", "paths"} {
		if q.Has(k) && q.Get(k) == "" {
			q.Del(k)
		}
	}
	if len(q) > 0 {
		if r.Method != http.MethodPost {
			w.header.Set("Allow", http.MethodPost)
			w.fail(http.StatusMethodNotAllowed, "Method %s not allowed, POST required.", r.Method)
			return
		}
		if err := a.setLevels(q); err != nil {
			w.fail(http.StatusBadRequest, "error: %v\n\n", err)
			w.text("usage: /logging?<name>=<level> (change single level)\n")
			w.text("usage: /logging?paths=name1:level1,name2:level2,... (change multiple levels)\n")
			w.text("usage: /logging?level=<level> (change all levels)\n")
			w.text("levels: %s \n", strings.Join(Levels(), " "))
		}
	}
	w.text("active loggers:\n")
	for _, l := range a.server.Loggers() {
		w.text("  %s: %s\n", l.Name, l.Level)
	}
	w.text("\n")
}

// setLevels changes all that is asked for, or nothing.
func (a *Admin) setLevels(q url.Values) error {
	if len(q) != 1 {
		return errors.New("invalid number of parameters")
	}
	var want [][2]string
	for k, v := range q {
		switch k {
		case "level":
			want = [][2]string{{"", v[0]}}
		case "paths":
			for pair := range strings.SplitSeq(v[0], ",") {
				name, level, _ := strings.Cut(strings.TrimSpace(pair), ":")
				if name == "" || level == "" {
					return errors.New("empty logger name or empty logger level")
				}
				want = append(want, [2]string{name, level})
			}
		default:
			want = [][2]string{{k, v[0]}}
		}
	}
	loggers := a.server.Loggers()
	for i, w := range want {
		if w[1] == "warn" {
			want[i][1] = "warning"
		} else if !slices.Contains(Levels(), w[1]) {
			return errors.New("unknown logger level")
		}
		if w[0] != "" && !slices.ContainsFunc(loggers, func(l Logger) bool { return l.Name == w[0] }) {
			return errors.New("unknown logger name")
		}
	}
	for _, w := range want {
		a.server.SetLogLevel(w[0], w[1])
	}
	return nil
}

// serveRuntime is /runtime: every key with its value in each layer and the one that holds.
func (a *Admin) serveRuntime(w *answer, _ *http.Request) {
	type entry struct {
		Final  string   `json:"final_value"`
		Layers []string `json:"layer_values"`
	}
	layers := a.server.Runtime()
	names := make([]string, len(layers))
	entries := map[string]*entry{}
	for i, l := range layers {
		names[i] = l.Name
		for k, v := range l.Values {
			e := entries[k]
			if e == nil {
				e = &entry{Layers: make([]string, len(layers))}
				entries[k] = e
			}
			e.Layers[i] = v
			if v != "" {
				e.Final = v
			}
		}
	}
	b, err := json.MarshalIndent(map[string]any{"layers": names, "entries": entries}, "", " ")
	if err != nil {
		w.fail(http.StatusInternalServerError, "write runtime: %v\n", err)
		return
	}
	w.header.Set("Content-Type", "application/json")
	w.body.Write(append(b, '\n'))
}

// serveRuntimeModify is /runtime_modify, with values in the query or, without one, as a form.
func (a *Admin) serveRuntimeModify(w *answer, r *http.Request) {
	q := r.URL.Query()
	if len(q) == 0 {
		if err := r.ParseForm(); err != nil {
			w.fail(http.StatusBadRequest, "read form: %v\n", err)
			return
		}
		q = r.PostForm
	}
	if len(q) == 0 {
		w.fail(http.StatusBadRequest, "usage: /runtime_modify?key1=value1&key2=value2&keyN=valueN\n"+
			"       or send the parameters as form values\n"+
			"use an empty value to remove a previously added override")
		return
	}
	values := make(map[string]string, len(q))
	for k, v := range q {
		values[k] = v[0]
	}
	if err := a.server.SetRuntime(values); err != nil {
		w.fail(http.StatusServiceUnavailable, "%v\n", err)
		return
	}
	w.text("OK\n")
}
