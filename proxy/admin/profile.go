// SPDX-License-Identifier: Apache-2.0

package admin

import (
	"net/http"
	httppprof "net/http/pprof"
	"os"
	"runtime/pprof"
	"strings"
	"sync"
)

// A profiler writes profiles to profile_path, one at a time.
type profiler struct {
	path string
	mu   sync.Mutex
	cpu  *os.File // open while the CPU profile runs
	heap bool
}

// enable reads the one parameter of both profilers.
func enable(w *answer, r *http.Request) (on, ok bool) {
	q := r.URL.Query()
	v := q.Get("enable")
	if len(q) != 1 || v != "y" && v != "n" {
		w.fail(http.StatusBadRequest, "?enable=<y|n>\n")
		return false, false
	}
	return v == "y", true
}

func (a *Admin) serveCPUProfiler(w *answer, r *http.Request) {
	on, ok := enable(w, r)
	if !ok {
		return
	}
	p := &a.profile
	p.mu.Lock()
	defer p.mu.Unlock()
	if on && p.cpu == nil {
		if err := p.startCPU(); err != nil {
			w.fail(http.StatusInternalServerError, "failure to start the profiler: %v\n", err)
			return
		}
	} else if !on {
		p.stopCPU()
	}
	w.text("OK\n")
}

func (p *profiler) startCPU() error {
	f, err := os.Create(p.path)
	if err != nil {
		return err
	}
	if err := pprof.StartCPUProfile(f); err != nil {
		_ = f.Close()
		return err
	}
	p.cpu = f
	return nil
}

func (p *profiler) stopCPU() {
	if p.cpu != nil {
		pprof.StopCPUProfile()
		_ = p.cpu.Close()
		p.cpu = nil
	}
}

// serveHeapProfiler is /heapprofiler. Go always samples the heap, so y only notes that a profile is wanted and n writes it.
func (a *Admin) serveHeapProfiler(w *answer, r *http.Request) {
	on, ok := enable(w, r)
	if !ok {
		return
	}
	p := &a.profile
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case on && p.heap:
		w.fail(http.StatusBadRequest, "Fail to start heap profiler: already started")
	case on:
		p.heap = true
		w.text("Starting heap profiler")
	case !p.heap:
		w.fail(http.StatusBadRequest, "Fail to stop heap profiler: not started")
	default:
		p.heap = false
		if err := p.writeHeap(); err != nil {
			w.fail(http.StatusInternalServerError, "write heap profile: %v\n", err)
			return
		}
		w.text("Heap profiler stopped and data written to %s. Read it with go tool pprof.\n", p.path)
	}
}

func (p *profiler) writeHeap() error {
	f, err := os.Create(p.path)
	if err != nil {
		return err
	}
	if err := pprof.Lookup("heap").WriteTo(f, 0); err != nil {
		_ = f.Close()
		return err
	}
	return f.Close()
}

func (p *profiler) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.stopCPU()
}

// rawProfile is the handler below /debug/pprof/, nil for other paths.
func rawProfile(path string) http.HandlerFunc {
	name, ok := strings.CutPrefix(path, "/debug/pprof/")
	if !ok {
		return nil
	}
	switch name {
	case "cmdline":
		return httppprof.Cmdline
	case "profile":
		return httppprof.Profile
	case "symbol":
		return httppprof.Symbol
	case "trace":
		return httppprof.Trace
	}
	return httppprof.Index
}

func (a *Admin) serveContention(w *answer, _ *http.Request) {
	w.text("Mutex contention is not traced in Envoy's form. Read /debug/pprof/mutex and /debug/pprof/block.\n")
}
