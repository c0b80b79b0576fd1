// SPDX-License-Identifier: Apache-2.0

package admin

import (
	"cmp"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"
)

// An accessLog writes a line for each request to some files.
type accessLog struct {
	paths []string
	mu    sync.Mutex
	files []*os.File
}

func openAccessLog(paths []string) (*accessLog, error) {
	l := &accessLog{paths: paths}
	return l, l.reopen()
}

// reopen opens all files or leaves all as they are.
func (l *accessLog) reopen() error {
	files := make([]*os.File, 0, len(l.paths))
	for _, p := range l.paths {
		f, err := os.OpenFile(p, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o644)
		if err != nil {
			for _, f := range files {
				_ = f.Close()
			}
			return err
		}
		files = append(files, f)
	}
	l.mu.Lock()
	old := l.files
	l.files = files
	l.mu.Unlock()
	for _, f := range old {
		_ = f.Close()
	}
	return nil
}

func (l *accessLog) close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	var errs []error
	for _, f := range l.files {
		errs = append(errs, f.Close())
	}
	l.files = nil
	return errors.Join(errs...)
}

// counted notes what an answer was.
type counted struct {
	http.ResponseWriter
	status int
	bytes  int64
}

func (c *counted) WriteHeader(status int) {
	c.status = status
	c.ResponseWriter.WriteHeader(status)
}

func (c *counted) Write(b []byte) (int, error) {
	n, err := c.ResponseWriter.Write(b)
	c.bytes += int64(n)
	return n, err
}

// Unwrap lets http.ResponseController reach the connection.
func (c *counted) Unwrap() http.ResponseWriter { return c.ResponseWriter }

// wrap logs what h answers.
func (l *accessLog) wrap(h http.Handler) http.Handler {
	if len(l.paths) == 0 {
		return h
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		start := time.Now()
		c := &counted{ResponseWriter: w, status: http.StatusOK}
		h.ServeHTTP(c, r)
		line := accessLine(start, time.Since(start), r, c)
		l.mu.Lock()
		defer l.mu.Unlock()
		for _, f := range l.files {
			_, _ = f.WriteString(line) // a full disk must not stop the answers
		}
	})
}

// accessLine is Envoy's default format. There is no upstream here, and no response flag.
func accessLine(start time.Time, took time.Duration, r *http.Request, c *counted) string {
	field := func(s string) string {
		s = strconv.Quote(cmp.Or(s, "-"))
		return s[1 : len(s)-1]
	}
	return fmt.Sprintf("[%s] \"%s %s %s\" %d - %d %d %d - \"%s\" \"%s\" \"%s\" \"%s\" \"-\"\n",
		start.UTC().Format("2006-01-02T15:04:05.000Z"), field(r.Method), field(r.URL.RequestURI()), strings.TrimSpace(r.Proto), c.status,
		max(0, r.ContentLength), c.bytes, took.Milliseconds(),
		field(r.Header.Get("X-Forwarded-For")), field(r.UserAgent()), field(r.Header.Get("X-Request-Id")), field(r.Host))
}
