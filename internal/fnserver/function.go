// SPDX-License-Identifier: Apache-2.0

package fnserver

import (
	"bytes"
	"context"
	"io"
	"net"
	"net/http"
)

// Text is a function that answers every call with the same text.
func Text(text string) http.RoundTripper {
	return Here(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, text) // The caller may have gone; there is nobody to tell.
	}))
}

// Here is a function of this process: h is given each call in the function protocol, with
// Fn's fields, and answers as functions do.
func Here(h http.Handler) http.RoundTripper { return here{h} }

type here struct{ h http.Handler }

// RoundTrip runs the function.
func (f here) RoundTrip(q *http.Request) (*http.Response, error) {
	a := &answer{header: http.Header{}}
	f.h.ServeHTTP(a, q) // It ends when its context does.
	if err := q.Context().Err(); err != nil {
		return nil, err
	}
	return &http.Response{StatusCode: a.code(), Header: a.header, Body: io.NopCloser(&a.body), Request: q}, nil
}

// answer is what a handler answered.
type answer struct {
	header http.Header
	status int
	body   bytes.Buffer
}

func (a *answer) Header() http.Header { return a.header }

func (a *answer) WriteHeader(status int) {
	if a.status == 0 {
		a.status = status
	}
}

func (a *answer) Write(p []byte) (int, error) {
	a.WriteHeader(http.StatusOK)
	return a.body.Write(p)
}

func (a *answer) code() int {
	if a.status == 0 {
		return http.StatusOK
	}
	return a.status
}

// Socket is a function of another process, which listens on a Unix socket. Its
// connections end by the transport's CloseIdleConnections.
func Socket(path string) *http.Transport {
	return &http.Transport{DisableCompression: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "unix", path)
	}}
}
