// SPDX-License-Identifier: Apache-2.0

package ads

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"
)

// Files name a certificate, its key, and the authorities of proxies' certificates, in PEM.
type Files struct{ Certificate, Key, ClientCA string }

// TLS returns the configuration of a server that shows the certificate, and asks proxies
// for theirs if there is a ClientCA. Files that change are read anew; when they cannot be
// read, what was read last serves on. The error is that they cannot be read at first.
func (f Files) TLS(told func(error)) (*tls.Config, error) {
	return f.open(nil, told)
}

// Of returns the configuration of a server that shows the certificate that server has, and
// asks proxies for theirs, as TLS does: the Files name a ClientCA alone.
func (f Files) Of(server *tls.Config, told func(error)) (*tls.Config, error) {
	return f.open(server, told)
}

func (f Files) open(server *tls.Config, told func(error)) (*tls.Config, error) {
	r := &reader{files: f, server: server, told: told}
	first, err := r.read()
	if err != nil {
		return nil, err
	}
	r.newest = first
	return &tls.Config{
		MinVersion:         tls.VersionTLS12,
		GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) { return r.get(), nil },
	}, nil
}

// reader keeps what files hold.
type reader struct {
	files  Files
	server *tls.Config // whose certificate is shown; nil for that of the files
	told   func(error)

	mu     sync.Mutex
	newest *tls.Config
	at     [3]time.Time // of each file
	looked time.Time
}

// look is how old what is known of files may be.
const look = time.Second

func (r *reader) get() *tls.Config {
	r.mu.Lock()
	defer r.mu.Unlock()
	if time.Since(r.looked) < look {
		return r.newest
	}
	if r.times() == r.at {
		r.looked = time.Now()
		return r.newest
	}
	fresh, err := r.read()
	if err != nil {
		r.told(fmt.Errorf("the certificate is not read anew, and the old one serves on: %w", err))
		return r.newest
	}
	r.newest = fresh
	return fresh
}

func (r *reader) times() (out [3]time.Time) {
	for i, name := range []string{r.files.Certificate, r.files.Key, r.files.ClientCA} {
		if info, err := os.Stat(name); name != "" && err == nil {
			out[i] = info.ModTime()
		}
	}
	return out
}

func (r *reader) read() (*tls.Config, error) {
	r.at, r.looked = r.times(), time.Now()
	out := r.server.Clone()
	if out == nil {
		pair, err := tls.LoadX509KeyPair(r.files.Certificate, r.files.Key)
		if err != nil {
			return nil, fmt.Errorf("certificate %s with key %s: %w", r.files.Certificate, r.files.Key, err)
		}
		out = &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{pair}, NextProtos: []string{"h2"}}
	}
	if r.files.ClientCA == "" {
		return out, nil
	}
	text, err := os.ReadFile(r.files.ClientCA)
	if err != nil {
		return nil, err
	}
	out.ClientCAs = x509.NewCertPool()
	if !out.ClientCAs.AppendCertsFromPEM(text) {
		return nil, errors.New(r.files.ClientCA + " has no certificate in PEM")
	}
	out.ClientAuth = tls.VerifyClientCertIfGiven
	return out, nil
}
