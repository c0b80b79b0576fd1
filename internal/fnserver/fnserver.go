// SPDX-License-Identifier: Apache-2.0

// Package fnserver answers as a server of the Fn Project does, by the API of today and
// that of 2018, and runs functions: of this process, or of others that speak Fn's
// function protocol, HTTP over a Unix socket. Demonstrations and tests use it in the
// place of the real one, which needs a container runtime.
//
// It calls functions and nothing else: applications are not managed by requests, images
// are not run, and calls are not remembered.
package fnserver

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"path"
	"strconv"
	"strings"
	"sync"
	"time"
)

// DefaultTimeout is how long a function may take, as Fn's own default is.
const DefaultTimeout = 30 * time.Second

// maxResponse is the longest body of a function's answer, in bytes.
const maxResponse = 16 << 20

// A Function is one that a Server has.
type Function struct {
	// App is the application; Path, which begins with a slash, is a route and the source of
	// a trigger in it. An empty Path has neither.
	App, Path string
	// ID calls it, too; empty is none.
	ID string
	// Run runs it in the function protocol: a POST with Fn's fields and the body.
	Run http.RoundTripper
	// Timeout of a call; 0 is DefaultTimeout.
	Timeout time.Duration
	// Async is a route's type of 2018: it is answered at once.
	Async bool
}

// A Server is a handler of Fn's API. It is to be closed.
type Server struct {
	// Attached refuses detached calls, as servers without the feature do. MaxRequest is
	// the longest body of a request in bytes, 0 any. They are set before the first request.
	Attached   bool
	MaxRequest int64

	mu    sync.Mutex
	all   []Function
	busy  int
	calls int

	ctx  context.Context
	stop context.CancelFunc
	wg   sync.WaitGroup // of detached calls
}

// New returns a Server without functions.
func New() *Server {
	s := &Server{}
	s.ctx, s.stop = context.WithCancel(context.Background())
	return s
}

// Close ends calls that nobody waits for, and returns when they have.
func (s *Server) Close() {
	s.stop()
	s.wg.Wait()
}

// Add adds a function, in the place of one with the same ID, or the same App and Path.
func (s *Server) Add(f Function) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, o := range s.all {
		if f.ID != "" && o.ID == f.ID || f.Path != "" && o.App == f.App && o.Path == f.Path {
			s.all[i] = f
			return
		}
	}
	s.all = append(s.all, f)
}

// Busy has the next n calls refused: the server has no room for them.
func (s *Server) Busy(n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.busy = n
}

// Calls is how many calls there were, those that were refused included.
func (s *Server) Calls() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.calls
}

// find returns the function that is, and whether the server is busy.
func (s *Server) find(is func(*Function) bool) (f Function, id string, found, busy bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range s.all {
		if !is(&s.all[i]) {
			continue
		}
		s.calls++
		if busy = s.busy > 0; busy {
			s.busy--
		}
		return s.all[i], "01FN" + strconv.Itoa(1_000_000+s.calls), true, busy
	}
	return Function{}, "", false, false
}

// api says how a request came.
type api int

const (
	invoked api = iota
	triggered
	routed // of 2018
)

// ServeHTTP answers calls: any method of /r/APP/ROUTE and /t/APP/SOURCE, and POST of
// /invoke/ID.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	at := path.Clean(r.URL.Path)
	_, rest, _ := strings.Cut(strings.TrimPrefix(at, "/"), "/")
	app, source, _ := strings.Cut(rest, "/")
	source = "/" + source
	byPath := func(f *Function) bool { return f.Path != "" && f.App == app && f.Path == source }
	switch {
	case strings.HasPrefix(at, "/invoke/") && r.Method == http.MethodPost:
		s.serve(w, r, invoked, "Fn not found", func(f *Function) bool { return f.ID != "" && f.ID == rest })
	case strings.HasPrefix(at, "/t/"):
		s.serve(w, r, triggered, "Trigger not found", byPath)
	case strings.HasPrefix(at, "/r/"):
		s.serve(w, r, routed, "Route not found", byPath)
	default:
		refuse(w, invoked, http.StatusNotFound, "Path not found")
	}
}

// serve calls the function that is.
func (s *Server) serve(w http.ResponseWriter, r *http.Request, by api, none string, is func(*Function) bool) {
	f, id, found, busy := s.find(is)
	if !found {
		refuse(w, by, http.StatusNotFound, none)
		return
	}
	if by == routed {
		w.Header().Set("FN_CALL_ID", id)
	} else {
		w.Header().Set("Fn-Call-Id", id)
	}
	detached := by != routed && r.Header.Get("Fn-Invoke-Type") == "detached"
	body := io.Reader(r.Body)
	if s.MaxRequest > 0 {
		body = http.MaxBytesReader(w, r.Body, s.MaxRequest)
	}
	switch {
	case busy:
		w.Header().Set("Retry-After", "15")
		refuse(w, by, http.StatusServiceUnavailable, "Timed out - server too busy")
	case s.MaxRequest > 0 && r.ContentLength > s.MaxRequest:
		refuse(w, by, http.StatusRequestEntityTooLarge, "Request body too large")
	case detached && s.Attached:
		refuse(w, by, http.StatusNotImplemented, "Detached call functions are not supported on this server")
	case detached, by == routed && f.Async:
		s.detach(w, r, f, by, id, body)
	default:
		s.wait(w, r, f, by, id, body)
	}
}

// detach answers at once.
func (s *Server) detach(w http.ResponseWriter, r *http.Request, f Function, by api, id string, body io.Reader) {
	all, err := io.ReadAll(body)
	if err != nil {
		refuse(w, by, http.StatusRequestEntityTooLarge, "Request body too large")
		return
	}
	q := request(r, by, id, f.limit())
	s.wg.Go(func() {
		_, _ = run(s.ctx, f, q, strings.NewReader(string(all))) // Nobody is told.
	})
	if by != routed {
		w.WriteHeader(http.StatusAccepted)
		return
	}
	writeJSON(w, http.StatusAccepted, map[string]string{"call_id": id})
}

// wait answers with what the function answers.
func (s *Server) wait(w http.ResponseWriter, r *http.Request, f Function, by api, id string, body io.Reader) {
	res, err := run(r.Context(), f, request(r, by, id, f.limit()), body)
	if err != nil {
		code, text := http.StatusBadGateway, "error receiving function response"
		if errors.Is(err, context.DeadlineExceeded) {
			code, text = http.StatusGatewayTimeout, "Timed out"
		} else if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
			code, text = http.StatusRequestEntityTooLarge, "Request body too large"
		}
		refuse(w, by, code, text)
		return
	}
	status := res.status
	h := w.Header()
	for name, values := range res.header {
		if by == invoked && name != "Fn-Call-Id" || name == "Content-Type" {
			h[name] = values
		}
	}
	for name, values := range res.header {
		if inner, wrapped := strings.CutPrefix(name, "Fn-Http-H-"); wrapped && by != invoked {
			h[http.CanonicalHeaderKey(inner)] = values
		}
	}
	if v, err := strconv.Atoi(res.header.Get("Fn-Http-Status")); err == nil && by != invoked && status < http.StatusBadRequest {
		status = v
	}
	if h.Get("Content-Type") == "" {
		h.Set("Content-Type", sniff(res.body))
	}
	h.Set("Content-Length", strconv.Itoa(len(res.body)))
	w.WriteHeader(status)
	_, _ = w.Write(res.body) // The client may have gone; there is nobody to tell.
}

func sniff(body []byte) string {
	if len(body) > 0 && body[0] == '{' {
		return "application/json; charset=utf-8"
	}
	return http.DetectContentType(body)
}

func (f *Function) limit() time.Duration {
	if f.Timeout > 0 {
		return f.Timeout
	}
	return DefaultTimeout
}

// request is what the function is told.
func request(r *http.Request, by api, id string, limit time.Duration) http.Header {
	h := http.Header{}
	for name, values := range r.Header {
		switch {
		case by == invoked || name == "Content-Type":
			h[name] = values
		case strings.HasPrefix(name, "Fn-"):
		default:
			h["Fn-Http-H-"+name] = values
		}
	}
	h.Set("Fn-Call-Id", id)
	h.Set("Fn-Deadline", time.Now().Add(limit).UTC().Format(time.RFC3339))
	if by != invoked {
		h.Set("Fn-Intent", "httprequest")
		h.Set("Fn-Http-Method", r.Method)
		h.Set("Fn-Http-Request-Url", "http://"+r.Host+r.URL.RequestURI())
	}
	return h
}

// result is what a function answered.
type result struct {
	status int
	header http.Header
	body   []byte
}

// run calls a function by the function protocol.
func run(ctx context.Context, f Function, h http.Header, body io.Reader) (*result, error) {
	ctx, cancel := context.WithTimeout(ctx, f.limit())
	defer cancel()
	q, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://function/call", body)
	if err != nil {
		return nil, err
	}
	q.Header = h
	res, err := f.Run.RoundTrip(q)
	if err != nil {
		return nil, errors.Join(err, ctx.Err())
	}
	defer res.Body.Close()
	all, err := io.ReadAll(io.LimitReader(res.Body, maxResponse))
	if err != nil {
		return nil, errors.Join(err, ctx.Err())
	}
	return &result{res.StatusCode, res.Header, all}, nil
}

// refuse answers an error in the words of an API.
func refuse(w http.ResponseWriter, by api, status int, message string) {
	if by == routed {
		writeJSON(w, status, map[string]any{"error": map[string]string{"message": message}})
		return
	}
	writeJSON(w, status, map[string]string{"message": message})
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	text, err := json.Marshal(v)
	if err != nil {
		panic("BUG: " + err.Error())
	}
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.WriteHeader(status)
	_, _ = w.Write(append(text, '\n')) // The client may have gone; there is nobody to tell.
}
