// SPDX-License-Identifier: Apache-2.0

package echo

import (
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// options is what a request asks of its answer.
type options struct {
	delay   time.Duration
	status  int
	sized   bool
	size    int64
	headers []header
}

type header struct{ name, value string }

// parseOptions reads the options of Handler and refuses what is malformed or over a limit.
func parseOptions(q url.Values, h http.Header) (options, error) {
	o := options{status: http.StatusOK}
	option := func(name string) (string, bool) {
		if q.Has(name) {
			return q.Get(name), true
		}
		values := h.Values("X-Echo-" + name)
		if len(values) == 0 {
			return "", false
		}
		return values[0], true
	}
	if s, ok := option("delay"); ok {
		d, err := time.ParseDuration(s)
		if err != nil || d < 0 || d > MaxDelay {
			return o, fmt.Errorf("delay %q: want a duration such as 200ms, at most %v", s, MaxDelay)
		}
		o.delay = d
	}
	if s, ok := option("status"); ok {
		n, err := strconv.Atoi(s)
		if err != nil || n < 200 || n > 599 {
			return o, fmt.Errorf("status %q: want a number from 200 to 599", s)
		}
		o.status = n
	}
	if s, ok := option("size"); ok {
		n, err := strconv.ParseInt(s, 10, 64)
		if err != nil || n < 0 || n > MaxSize {
			return o, fmt.Errorf("size %q: want a number of bytes, at most %d", s, MaxSize)
		}
		o.sized, o.size = true, n
	}
	for _, s := range h.Values("X-Echo-Set-Header") {
		set, err := parseHeader(s)
		if err != nil {
			return o, err
		}
		o.headers = append(o.headers, set)
	}
	return o, nil
}

// parseHeader reads "name: value". The headers that frame the answer are the server's own.
func parseHeader(s string) (header, error) {
	name, value, ok := strings.Cut(s, ":")
	if !ok || !token(name) {
		return header{}, fmt.Errorf("x-echo-set-header %q: want name: value", s)
	}
	switch strings.ToLower(name) {
	case "content-length", "transfer-encoding", "trailer":
		return header{}, fmt.Errorf("x-echo-set-header %q: %s is set by the server alone", s, name)
	}
	value = strings.Trim(value, " \t")
	for i := 0; i < len(value); i++ {
		if c := value[i]; c < ' ' && c != '\t' || c == 0x7f {
			return header{}, fmt.Errorf("x-echo-set-header %q: control character in the value", s)
		}
	}
	return header{name, value}, nil
}

// token tells whether s is a token, RFC 9110 §5.6.2.
func token(s string) bool {
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9':
		case strings.IndexByte("!#$%&'*+-.^_`|~", c) >= 0:
		default:
			return false
		}
	}
	return s != ""
}
