// SPDX-License-Identifier: Apache-2.0

// Package discovery asks OpenID providers for their configuration (OpenID Connect
// Discovery 1.0 §4), for SecurityPolicies that name an issuer and not its endpoints. What
// they say becomes objects of the View (source.Issuers).
//
// A provider is asked again from time to time. What it last said well stays when it
// cannot be asked: a provider that is gone locks nobody out that its tokens let in.
package discovery

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	api "weir.dev/weir/control/api/envoygateway"
	"weir.dev/weir/control/source"
)

// Options of a Discoverer.
type Options struct {
	// Queue is where what providers say goes.
	Queue *source.Queue
	Log   *slog.Logger
	// Every is how often a provider is asked again; 0 is ten minutes. Again is how long
	// after a first failure; 0 is one second. It doubles with each, up to a minute.
	Every, Again time.Duration
}

// Limits of what is asked.
const (
	// timeout bounds one request, redirects included.
	timeout = 10 * time.Second
	// maxBody bounds a configuration, in bytes.
	maxBody = 256 << 10
	// maxRedirects bounds how often a provider may send us elsewhere.
	maxRedirects = 3
	longest      = time.Minute
)

// A Discoverer asks the providers that objects want.
type Discoverer struct {
	o      Options
	client *http.Client
	wanted chan map[string]bool
}

// New returns a Discoverer. It asks nobody before Run.
func New(o Options) *Discoverer {
	if o.Every <= 0 {
		o.Every = 10 * time.Minute
	}
	if o.Again <= 0 {
		o.Again = time.Second
	}
	t := &http.Transport{Proxy: http.ProxyFromEnvironment, MaxIdleConns: 8, IdleConnTimeout: longest, MaxResponseHeaderBytes: 64 << 10, ForceAttemptHTTP2: true}
	return &Discoverer{o: o, wanted: make(chan map[string]bool, 1), client: &http.Client{Transport: t, Timeout: timeout, CheckRedirect: redirect}}
}

// redirect follows few redirects, and none that gives up encryption.
func redirect(to *http.Request, via []*http.Request) error {
	switch {
	case len(via) > maxRedirects:
		return errors.New("it is redirected too often")
	case via[0].URL.Scheme == "https" && to.URL.Scheme != "https":
		return errors.New("it is redirected to where nothing is encrypted")
	}
	return nil
}

// Wanted returns the providers that objects want asked.
func Wanted(v *source.View) map[string]bool {
	next := map[string]bool{}
	for _, name := range v.Names(source.SecurityPolicy) {
		o, _ := v.Get(source.Key{Kind: source.SecurityPolicy, Name: name}).(*api.SecurityPolicy)
		if o == nil || o.Spec.OIDC == nil {
			continue
		}
		if p := &o.Spec.OIDC.Provider; p.Issuer != "" && p.WantsDiscovery() {
			next[p.Issuer] = true
		}
	}
	return next
}

// Changed tells what objects there are now. It does not block, and is for one goroutine.
func (d *Discoverer) Changed(v *source.View) {
	next := Wanted(v)
	select {
	case <-d.wanted: // What was said before is not so any more.
	default:
	}
	d.wanted <- next
}

// Run asks until ctx ends.
func (d *Discoverer) Run(ctx context.Context) {
	var wg sync.WaitGroup
	asking := map[string]context.CancelFunc{}
	defer func() {
		for _, end := range asking {
			end()
		}
		wg.Wait()
		d.client.CloseIdleConnections()
	}()
	for {
		select {
		case <-ctx.Done():
			return
		case want := <-d.wanted:
			for issuer, end := range asking {
				if !want[issuer] {
					end()
					delete(asking, issuer)
					d.o.Queue.Put(source.Change{Key: key(issuer)})
				}
			}
			for issuer := range want {
				if asking[issuer] == nil {
					own, end := context.WithCancel(ctx)
					asking[issuer] = end
					wg.Go(func() { d.follow(own, issuer) })
				}
			}
		}
	}
}

func key(issuer string) source.Key {
	return source.Key{Kind: source.Issuers, Name: source.IssuerName(issuer)}
}

// follow keeps up with one provider.
func (d *Discoverer) follow(ctx context.Context, issuer string) {
	var had *source.Issuer
	for failures := 0; ; {
		next, err := d.ask(ctx, issuer)
		if ctx.Err() != nil {
			return
		}
		wait := d.o.Every
		switch {
		case err == nil:
			failures = 0
		default:
			wait = min(d.o.Again<<min(failures, 16), max(longest, d.o.Again))
			failures++
			d.o.Log.Warn("the configuration of an OpenID provider could not be had", "issuer", issuer, "reason", err, "kept", had != nil && had.Problem == "")
			next = &source.Issuer{Problem: err.Error()}
		}
		if had == nil || err == nil && !next.Equal(had) || err != nil && had.Problem != "" && had.Problem != next.Problem {
			next.ObjectMeta = metav1.ObjectMeta{Name: issuer}
			had = next
			d.o.Queue.Put(source.Change{Key: key(issuer), Object: next})
		}
		t := time.NewTimer(wait)
		select {
		case <-t.C:
		case <-ctx.Done():
			t.Stop()
			return
		}
	}
}

// ask asks once.
func (d *Discoverer) ask(ctx context.Context, issuer string) (*source.Issuer, error) {
	u, err := url.Parse(issuer)
	if err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" {
		return nil, errors.New("the issuer is not a URL such as https://login.example.com")
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, strings.TrimSuffix(issuer, "/")+"/.well-known/openid-configuration", nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Accept", "application/json")
	res, err := d.client.Do(req)
	if err != nil {
		return nil, err
	}
	defer func() { _ = res.Body.Close() }()
	if res.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s answers %d", req.URL, res.StatusCode)
	}
	body, err := io.ReadAll(io.LimitReader(res.Body, maxBody+1))
	switch {
	case err != nil:
		return nil, err
	case len(body) > maxBody:
		return nil, fmt.Errorf("%s answers more than %d bytes", req.URL, maxBody)
	}
	return Parse(body)
}

// Parse reads a configuration. What it has beyond an Issuer is of no concern.
func Parse(body []byte) (*source.Issuer, error) {
	var c struct {
		Authorization string `json:"authorization_endpoint"`
		Token         string `json:"token_endpoint"`
		EndSession    string `json:"end_session_endpoint"`
	}
	if err := json.Unmarshal(body, &c); err != nil {
		return nil, errors.New("the configuration is not the JSON that it should be")
	}
	for name, text := range map[string]string{"authorization_endpoint": c.Authorization, "token_endpoint": c.Token, "end_session_endpoint": c.EndSession} {
		u, err := url.Parse(text)
		switch {
		case text == "" && name == "end_session_endpoint":
		case text == "":
			return nil, fmt.Errorf("the configuration has no %s", name)
		case err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "":
			return nil, fmt.Errorf("%s of the configuration is not a URL", name)
		}
	}
	return &source.Issuer{AuthorizationEndpoint: c.Authorization, TokenEndpoint: c.Token, EndSessionEndpoint: c.EndSession}, nil
}
