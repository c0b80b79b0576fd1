// SPDX-License-Identifier: Apache-2.0

package awstest

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
)

// ARN is the name of a function in the account and region of the kit.
func ARN(function string) string {
	return "arn:aws:lambda:us-east-1:123456789012:function:" + function
}

// A Function takes an event and returns its result; kind is "" or what
// x-amz-function-error tells, such as "Unhandled".
type Function func(ctx context.Context, event []byte) (result []byte, kind string)

// Result is a function that always returns the same.
func Result(s string) Function {
	return func(context.Context, []byte) ([]byte, string) { return []byte(s), "" }
}

// Lambda is the API of Lambda: it verifies who calls, finds the function by its ARN,
// and invokes it.
type Lambda struct {
	// Addr is where it is served, over TLS if asked for.
	Addr string

	account   *Account
	mu        sync.Mutex
	functions map[string]Function
	throttled int
	calls     []Call
	names     []string
	running   sync.WaitGroup
}

// A Call is an invocation as it came.
type Call struct {
	// Function is the name with its version or alias; Type is RequestResponse or Event.
	Function, Type string
	// Key is the access key that it was signed with.
	Key    string
	Host   string
	Header http.Header
	Event  string
}

// NewLambda starts the API without functions, at an address of its own.
func NewLambda(t testing.TB, a *Account, secure bool) *Lambda {
	t.Helper()
	return NewLambdaAt(t, a, secure, "127.0.0.1:0")
}

// NewLambdaAt starts the API at an address.
func NewLambdaAt(t testing.TB, a *Account, secure bool, address string) *Lambda {
	t.Helper()
	l := &Lambda{account: a, functions: map[string]Function{}}
	s := serverAt(t, l, address)
	if secure {
		s.TLS = &tls.Config{GetConfigForClient: func(h *tls.ClientHelloInfo) (*tls.Config, error) {
			l.mu.Lock()
			defer l.mu.Unlock()
			l.names = append(l.names, h.ServerName)
			return nil, nil
		}}
		s.StartTLS()
	} else {
		s.Start()
	}
	t.Cleanup(func() {
		s.Close()
		l.running.Wait()
	})
	l.Addr = s.Listener.Addr().String()
	return l
}

// Add adds a function under a name, with a version or an alias if it is not the latest.
func (l *Lambda) Add(name string, f Function) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.functions[name] = f
}

// Throttle answers the next n invocations 429.
func (l *Lambda) Throttle(n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.throttled = n
}

// Calls are the invocations that were signed rightly, those throttled included.
func (l *Lambda) Calls() []Call {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.calls)
}

// ServerNames are the names that were asked for over TLS.
func (l *Lambda) ServerNames() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.names)
}

// ServeHTTP answers as Lambda does.
func (l *Lambda) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	w.Header().Set("X-Amzn-Requestid", "00000000-0000-4000-8000-000000000001")
	key, err := l.account.Verify(r, body, "lambda")
	if err != nil {
		kind := "InvalidSignatureException"
		if errors.Is(err, ErrUnsigned) {
			kind = "MissingAuthenticationTokenException"
		}
		refuse(w, http.StatusForbidden, kind, err.Error())
		return
	}
	arn, ok := strings.CutSuffix(strings.TrimPrefix(r.URL.Path, "/2015-03-31/functions/"), "/invocations")
	name, ours := strings.CutPrefix(arn, ARN(""))
	if !ok || r.Method != http.MethodPost {
		refuse(w, http.StatusNotFound, "UnknownOperationException", r.Method+" "+r.URL.Path)
		return
	}
	kind := r.Header.Get("X-Amz-Invocation-Type")
	l.mu.Lock()
	l.calls = append(l.calls, Call{Function: name, Type: kind, Key: key, Host: r.Host, Header: r.Header, Event: string(body)})
	f := l.functions[name]
	throttle := l.throttled > 0
	if throttle {
		l.throttled--
	}
	l.mu.Unlock()
	switch {
	case throttle:
		refuse(w, http.StatusTooManyRequests, "TooManyRequestsException", "Rate Exceeded.")
	case !ours || f == nil:
		refuse(w, http.StatusNotFound, "ResourceNotFoundException", "Function not found: "+arn)
	case kind == "Event":
		l.running.Go(func() { f(context.Background(), body) })
		w.WriteHeader(http.StatusAccepted)
	default:
		result, failed := f(r.Context(), body)
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("X-Amz-Executed-Version", version(name))
		if failed != "" {
			w.Header().Set("X-Amz-Function-Error", failed)
		}
		_, _ = w.Write(result) // Who left has nothing more to learn.
	}
}

func version(name string) string {
	if _, v, ok := strings.Cut(name, ":"); ok {
		return v
	}
	return "$LATEST"
}

func refuse(w http.ResponseWriter, status int, kind, message string) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("X-Amzn-Errortype", kind)
	w.WriteHeader(status)
	text, err := json.Marshal(message)
	if err != nil {
		text = []byte(`""`)
	}
	fmt.Fprintf(w, `{"Type":"User","message":%s}`, text)
}
