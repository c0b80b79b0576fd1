// SPDX-License-Identifier: Apache-2.0

// Package echo is the backend that examples, tests and users share: it answers each request with what it
// saw of it, as JSON, and does what the request asks to make trouble: wait, fail, send a lot.
//
// It is for demonstrations and tests. It trusts nobody with more than MaxDelay of waiting and MaxSize bytes
// of answer, and it deliberately keeps no state between requests.
package echo

import (
	"crypto/tls"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// Limits on what one request may ask for.
const (
	// MaxDelay is the longest wait before an answer.
	MaxDelay = 5 * time.Minute
	// MaxSize is the largest body of filler, in bytes.
	MaxSize = 64 << 20
	// MaxBody is the largest request body that is counted, in bytes; a longer one is answered 413.
	MaxBody = 1 << 30
)

// A Report is the JSON answer: what arrived here.
type Report struct {
	// Name says who answers: the name given to Handler.
	Name string `json:"name"`
	// Method, Path and Host are the request's. Path is the whole target, with its query, as it arrived.
	Method string `json:"method"`
	Path   string `json:"path"`
	Host   string `json:"host"`
	// Protocol is "HTTP/1.0", "HTTP/1.1" or "HTTP/2.0".
	Protocol string `json:"protocol"`
	// Headers are the request's but Host, their names in lower case, each with its values in order.
	Headers map[string][]string `json:"headers"`
	// Trailers are those of the request, written like Headers.
	Trailers map[string][]string `json:"trailers,omitempty"`
	// BodySize counts the bytes of the request's body.
	BodySize int64 `json:"body_size"`
	// Remote is the address of the peer: the proxy's when there is one.
	Remote string `json:"remote"`
	// TLS is absent on a cleartext connection.
	TLS *TLS `json:"tls,omitempty"`
}

// TLS is what a Report says of the connection's TLS.
type TLS struct {
	Version     string   `json:"version"`
	CipherSuite string   `json:"cipher_suite"`
	ServerName  string   `json:"server_name,omitempty"`
	ALPN        string   `json:"alpn,omitempty"`
	Peer        []string `json:"peer,omitempty"` // subjects of the client's certificates, leaf first
}

// Handler answers every request under the given name. A request steers its answer by query parameter or by
// header; the query wins:
//
//	?delay=200ms  x-echo-delay: 200ms     wait first, at most MaxDelay
//	?status=503   x-echo-status: 503      answer with this status, 200 to 599
//	?size=16384   x-echo-size: 16384      answer with so many bytes of filler in place of the report
//	              x-echo-set-header: a: b add this header to the answer; may be repeated
//
// A request for a WebSocket is granted, and each frame of at most 1 MiB sent back. A
// gRPC call, of whatever method, is answered with the messages that it brings. An invocation
// of a function of AWS Lambda is answered as by Lambda: with an Invocation as the
// function's response, for which the event's request steers.
//
// An option it cannot read is answered 400 with the reason, as {"error": "..."}.
func Handler(name string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { answer(name, w, r) })
}

func answer(name string, w http.ResponseWriter, r *http.Request) {
	w.Header().Set("X-Echo-Name", name)
	if arn, ok := invoked(r); ok {
		serveLambda(name, arn, w, r)
		return
	}
	ask, err := parseOptions(r.URL.Query(), r.Header)
	if err != nil {
		refuse(w, http.StatusBadRequest, err)
		return
	}
	if wantsWebSocket(r) {
		serveWebSocket(w, r)
		return
	}
	if wantsGRPC(r) {
		serveGRPC(w, r)
		return
	}
	size, err := io.Copy(io.Discard, http.MaxBytesReader(w, r.Body, MaxBody))
	if err != nil {
		status := http.StatusBadRequest
		if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
			status = http.StatusRequestEntityTooLarge
		}
		refuse(w, status, err)
		return
	}
	if !pause(r, ask.delay) {
		return
	}
	for _, h := range ask.headers {
		w.Header().Add(h.name, h.value)
	}
	if ask.sized {
		fill(w, r, ask)
		return
	}
	writeJSON(w, ask.status, report(name, r, size))
}

// pause waits for d, and reports whether the client did, too.
func pause(r *http.Request, d time.Duration) bool {
	if d <= 0 {
		return true
	}
	wait := time.NewTimer(d)
	defer wait.Stop()
	select {
	case <-wait.C:
		return true
	case <-r.Context().Done():
		return false
	}
}

// report describes the request; its body has been read, so the trailers are there.
func report(name string, r *http.Request, size int64) Report {
	rep := Report{
		Name:     name,
		Method:   r.Method,
		Path:     r.RequestURI,
		Host:     r.Host,
		Protocol: r.Proto,
		Headers:  lower(r.Header),
		Trailers: lower(r.Trailer),
		BodySize: size,
		Remote:   r.RemoteAddr,
	}
	if r.TLS == nil {
		return rep
	}
	rep.TLS = &TLS{
		Version:     tls.VersionName(r.TLS.Version),
		CipherSuite: tls.CipherSuiteName(r.TLS.CipherSuite),
		ServerName:  r.TLS.ServerName,
		ALPN:        r.TLS.NegotiatedProtocol,
	}
	for _, c := range r.TLS.PeerCertificates {
		rep.TLS.Peer = append(rep.TLS.Peer, c.Subject.String())
	}
	return rep
}

func lower(h http.Header) map[string][]string {
	if h == nil {
		return nil
	}
	out := make(map[string][]string, len(h))
	for name, values := range h {
		out[strings.ToLower(name)] = values
	}
	return out
}

// fill answers with filler: lines of 64 bytes, so that a lost or doubled piece is easy to see.
func fill(w http.ResponseWriter, r *http.Request, ask options) {
	const row = "weir echo filler 0123456789 abcdefghijklmnopqrstuvwxyz ........\n"
	block := strings.Repeat(row, 512)
	if !hasBody(ask.status) {
		w.WriteHeader(ask.status)
		return
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("Content-Length", strconv.FormatInt(ask.size, 10))
	w.WriteHeader(ask.status)
	if r.Method == http.MethodHead {
		return
	}
	for left := ask.size; left > 0; {
		n, err := io.WriteString(w, block[:min(left, int64(len(block)))])
		if err != nil {
			return // The client went away; there is nobody to tell.
		}
		left -= int64(n)
	}
}

// hasBody is false for the statuses whose responses end with their head, RFC 9112 §6.3.
func hasBody(status int) bool {
	return status != http.StatusNoContent && status != http.StatusNotModified
}

func refuse(w http.ResponseWriter, status int, err error) {
	writeJSON(w, status, map[string]string{"error": err.Error()})
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	body, err := json.Marshal(v)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	body = append(body, '\n')
	w.Header().Set("Content-Type", "application/json")
	if hasBody(status) {
		w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	}
	w.WriteHeader(status)
	if hasBody(status) {
		_, _ = w.Write(body) // The client may have gone; there is nobody to tell.
	}
}
