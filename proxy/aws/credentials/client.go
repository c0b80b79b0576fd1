// SPDX-License-Identifier: Apache-2.0

package credentials

import (
	"io"
	"net"
	"net/http"
	"time"
)

// maxAnswer bounds what is read of an answer, in bytes.
const maxAnswer = 1 << 20

// client returns a client for few and far calls: it keeps no connection, follows no
// redirect, and reads no more than maxAnswer. Services beyond this machine are asked
// through the proxy that the environment names.
func client(beyond bool) *http.Client {
	t := &http.Transport{
		DisableKeepAlives: true, TLSHandshakeTimeout: 5 * time.Second, ResponseHeaderTimeout: 10 * time.Second,
		DialContext: (&net.Dialer{Timeout: 3 * time.Second}).DialContext, MaxResponseHeaderBytes: 64 << 10, ForceAttemptHTTP2: false,
	}
	if beyond {
		t.Proxy = http.ProxyFromEnvironment
	}
	return wrap(t)
}

// metadataClient returns a client for the metadata service, which answers at once or
// is not there.
func metadataClient() *http.Client {
	return wrap(&http.Transport{
		DisableKeepAlives: true, ResponseHeaderTimeout: time.Second,
		DialContext: (&net.Dialer{Timeout: 500 * time.Millisecond}).DialContext, MaxResponseHeaderBytes: 64 << 10,
	})
}

func wrap(t *http.Transport) *http.Client {
	return &http.Client{
		Transport: bounded{t}, Timeout: 15 * time.Second,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// bounded limits the bodies of answers.
type bounded struct{ http.RoundTripper }

// RoundTrip implements http.RoundTripper.
func (b bounded) RoundTrip(r *http.Request) (*http.Response, error) {
	res, err := b.RoundTripper.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	res.Body = limited{io.LimitReader(res.Body, maxAnswer), res.Body}
	return res, nil
}

type limited struct {
	io.Reader
	io.Closer
}
