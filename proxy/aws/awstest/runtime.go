// SPDX-License-Identifier: Apache-2.0

package awstest

import (
	"context"
	_ "embed"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"
)

// runtime is Lambda's Runtime API, by which a process takes events and gives results.
type runtime struct {
	events chan *event

	mu   sync.Mutex
	n    int
	open map[string]*event
}

// event is one that a process works on.
type event struct {
	body   []byte
	result chan result
}

type result struct {
	body []byte
	kind string
}

//go:embed bootstrap.py
var bootstrap string

// Python runs lambda_function.lambda_handler of a folder with the machine's Python, as Lambda's runtime of it does. Where
// there is none, the test is skipped.
func Python(t testing.TB, folder string) Function {
	t.Helper()
	python, err := exec.LookPath("python3")
	if err != nil {
		t.Skip("python3 is not installed: apt-get install python3")
	}
	cmd := exec.Command(python, "-c", bootstrap)
	cmd.Dir = folder
	cmd.Env = append(os.Environ(), "PYTHONDONTWRITEBYTECODE=1", "PYTHONPATH=.")
	return Process(t, cmd)
}

// Process runs a program as Lambda does, which finds the Runtime API in its environment,
// and returns it as a function. It is killed when the test ends.
func Process(t testing.TB, cmd *exec.Cmd) Function {
	t.Helper()
	r := &runtime{events: make(chan *event), open: map[string]*event{}}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /2018-06-01/runtime/invocation/next", r.next)
	mux.HandleFunc("POST /2018-06-01/runtime/invocation/{id}/response", func(w http.ResponseWriter, q *http.Request) { r.end(w, q, "") })
	mux.HandleFunc("POST /2018-06-01/runtime/invocation/{id}/error", func(w http.ResponseWriter, q *http.Request) { r.end(w, q, "Unhandled") })
	mux.HandleFunc("POST /2018-06-01/runtime/init/error", func(w http.ResponseWriter, q *http.Request) {
		b, err := io.ReadAll(q.Body)
		t.Errorf("%s: the function cannot start: %s, %v", cmd.Path, b, err)
		w.WriteHeader(http.StatusAccepted)
	})
	s := httptest.NewServer(mux)
	cmd.Env = append(cmd.Environ(), "AWS_LAMBDA_RUNTIME_API="+strings.TrimPrefix(s.URL, "http://"), "AWS_LAMBDA_FUNCTION_NAME=function", "AWS_LAMBDA_FUNCTION_VERSION=$LATEST",
		"AWS_LAMBDA_FUNCTION_MEMORY_SIZE=128", "AWS_LAMBDA_LOG_GROUP_NAME=g", "AWS_LAMBDA_LOG_STREAM_NAME=s", "_HANDLER=lambda_function.lambda_handler")
	var out strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		s.Close()
		t.Fatalf("run a function: %v", err)
	}
	gone := make(chan struct{})
	var err error
	go func() {
		err = cmd.Wait()
		close(gone)
	}()
	t.Cleanup(func() {
		select {
		case <-gone:
			t.Errorf("%s ended before its time: %v\n%s", cmd.Path, err, out.String())
		default:
			_ = cmd.Process.Kill() // It may be ending by itself.
			<-gone
		}
		s.CloseClientConnections()
		s.Close()
	})
	return func(ctx context.Context, body []byte) ([]byte, string) {
		e := &event{body: body, result: make(chan result, 1)}
		select {
		case r.events <- e:
		case <-gone:
			return []byte(`{"errorMessage":"the function is gone"}`), "Unhandled"
		case <-ctx.Done():
			return nil, "Unhandled"
		}
		select {
		case x := <-e.result:
			return x.body, x.kind
		case <-gone:
			return []byte(`{"errorMessage":"the function is gone"}`), "Unhandled"
		case <-ctx.Done():
			return nil, "Unhandled"
		}
	}
}

// next gives a process its next event.
func (r *runtime) next(w http.ResponseWriter, q *http.Request) {
	select {
	case e := <-r.events:
		r.mu.Lock()
		r.n++
		id := fmt.Sprintf("00000000-0000-4000-8000-%012d", r.n)
		r.open[id] = e
		r.mu.Unlock()
		h := w.Header()
		h.Set("Lambda-Runtime-Aws-Request-Id", id)
		h.Set("Lambda-Runtime-Deadline-Ms", fmt.Sprint(time.Now().Add(30*time.Second).UnixMilli()))
		h.Set("Lambda-Runtime-Invoked-Function-Arn", ARN("function"))
		h.Set("Lambda-Runtime-Trace-Id", "Root=1-5bef4de7-ad49b0e87f6ef6c87fc2e700")
		h.Set("Content-Type", "application/json")
		_, _ = w.Write(e.body) // A process that is gone takes no event.
	case <-q.Context().Done():
	}
}

// end takes the result of an event.
func (r *runtime) end(w http.ResponseWriter, q *http.Request, kind string) {
	body, err := io.ReadAll(q.Body)
	if err != nil {
		return
	}
	r.mu.Lock()
	e := r.open[q.PathValue("id")]
	delete(r.open, q.PathValue("id"))
	r.mu.Unlock()
	if e == nil {
		http.NotFound(w, q)
		return
	}
	e.result <- result{body, kind}
	w.WriteHeader(http.StatusAccepted)
}
