// SPDX-License-Identifier: Apache-2.0

package admin

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
)

// Most a body of a request may be; only form values are read.
const maxBody = 64 << 10

// An Admin is the endpoints of one proxy and the listener that serves them.
type Admin struct {
	cfg       Config
	server    Server
	endpoints []endpoint // by path
	origins   *http.CrossOriginProtection
	profile   profiler
	listening listening
}

// New makes the endpoints of a proxy. They can be used as an http.Handler at once; [Admin.Start] serves them.
func New(cfg Config, s Server) *Admin {
	a := &Admin{cfg: cfg, server: s, origins: http.NewCrossOriginProtection()}
	a.profile.path = cfg.profilePath()
	a.endpoints = slices.Concat(a.readers(), a.changers(), a.profilers())
	slices.SortFunc(a.endpoints, func(x, y endpoint) int { return strings.Compare(x.path, y.path) })
	return a
}

// An endpoint is one path.
type endpoint struct {
	path, help string
	// changes makes it need POST.
	changes bool
	params  []param
	serve   func(*answer, *http.Request)
}

// A param is a query parameter, for the help text.
type param struct {
	name, help string
	choices    []string
}

// An answer is gathered before it is sent, so that an error found late still has its status.
type answer struct {
	header http.Header
	status int
	body   bytes.Buffer
	// stream, if not nil, writes what is too much to be gathered, after body. Its error means that the client has gone.
	stream func(io.Writer) error
}

func (w *answer) text(format string, args ...any) { fmt.Fprintf(&w.body, format, args...) }

func (w *answer) fail(status int, format string, args ...any) {
	w.status = status
	w.body.Reset()
	w.header.Set("Content-Type", "text/plain; charset=UTF-8")
	w.text(format, args...)
}

// ServeHTTP answers one request.
func (a *Admin) ServeHTTP(rw http.ResponseWriter, r *http.Request) {
	w := &answer{header: rw.Header(), status: http.StatusOK}
	w.header.Set("Content-Type", "text/plain; charset=UTF-8")
	w.header.Set("Cache-Control", "no-cache, max-age=0")
	w.header.Set("X-Content-Type-Options", "nosniff")
	r.Body = http.MaxBytesReader(rw, r.Body, maxBody)
	if a.admit(w, r) {
		if e := a.find(r.URL.Path); e == nil {
			w.fail(http.StatusNotFound, "invalid path. ")
			a.help(w)
		} else if raw := rawProfile(r.URL.Path); raw != nil {
			raw(rw, r)
			return
		} else {
			e.serve(w, r)
		}
	}
	rw.WriteHeader(w.status)
	if _, err := rw.Write(w.body.Bytes()); err != nil || w.stream == nil {
		return // The client has gone, or has all.
	}
	_ = w.stream(rw)
}

// admit refuses what must not reach an endpoint.
func (a *Admin) admit(w *answer, r *http.Request) bool {
	if !a.hostAllowed(r) {
		w.fail(http.StatusForbidden, "host %q is not allowed: the admin address is a loopback address, so Host must be an IP address, localhost or an allowed name\n", r.Host)
		return false
	}
	if len(a.cfg.AllowPaths) > 0 && !slices.ContainsFunc(a.cfg.AllowPaths, func(f func(string) bool) bool { return f(r.URL.Path) }) {
		w.fail(http.StatusForbidden, "request to path %s not allowed", r.URL.Path)
		return false
	}
	e := a.find(r.URL.Path)
	switch {
	case e == nil:
		return true
	case e.changes && r.Method != http.MethodPost:
		w.header.Set("Allow", http.MethodPost)
		w.fail(http.StatusMethodNotAllowed, "Method %s not allowed, POST required.", r.Method)
		return false
	case r.Method == http.MethodPost || r.Method == http.MethodGet || r.Method == http.MethodHead:
	default:
		w.header.Set("Allow", "GET, HEAD, POST")
		w.fail(http.StatusMethodNotAllowed, "Method %s not allowed.", r.Method)
		return false
	}
	if err := a.origins.Check(r); err != nil {
		w.fail(http.StatusForbidden, "refused: %v\n", err)
		return false
	}
	return true
}

// hostAllowed guards a loopback address against DNS rebinding. Other addresses are reached by whatever name they have, and
// unix sockets by no browser.
func (a *Admin) hostAllowed(r *http.Request) bool {
	local, ok := r.Context().Value(http.LocalAddrContextKey).(net.Addr)
	if !ok {
		return true
	}
	tcp, ok := local.(*net.TCPAddr)
	if !ok || !tcp.IP.IsLoopback() {
		return true
	}
	host := r.Host
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	host = strings.ToLower(strings.TrimSuffix(strings.Trim(host, "[]"), "."))
	if host == "" || host == "localhost" {
		return true // HTTP/1.0 has no Host; browsers always send one
	}
	if _, err := netip.ParseAddr(host); err == nil {
		return true
	}
	return slices.Contains(a.cfg.AllowHosts, host)
}

func (a *Admin) find(path string) *endpoint {
	if strings.HasPrefix(path, "/debug/pprof/") {
		path = "/debug/pprof/"
	}
	i, ok := slices.BinarySearchFunc(a.endpoints, path, func(e endpoint, p string) int { return strings.Compare(e.path, p) })
	if !ok {
		return nil
	}
	return &a.endpoints[i]
}

// help lists all endpoints in Envoy's form.
func (a *Admin) help(w *answer) {
	w.text("admin commands are:\n")
	for _, e := range a.endpoints {
		method := ""
		if e.changes {
			method = " (POST)"
		}
		w.text("  %s%s: %s\n", e.path, method, e.help)
		for _, p := range e.params {
			w.text("      %s: %s", p.name, p.help)
			if len(p.choices) > 0 {
				w.text("; One of (%s)", strings.Join(p.choices, ", "))
			}
			w.text("\n")
		}
	}
}
