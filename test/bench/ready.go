// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	"weir.dev/weir/test/bench/peer"
)

// ready asks until the proxy answers in the protocol that it is measured in.
func ready(ctx context.Context, s peer.Setup, ended <-chan struct{}) error {
	ask := askHTTP(s)
	if s.Mode == peer.UDP {
		ask = askUDP(s)
	}
	last := errors.New("nothing")
	for stop := time.Now().Add(startLimit); time.Now().Before(stop); {
		select {
		case <-ended:
			return fmt.Errorf("ended by itself")
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(20 * time.Millisecond):
		}
		if last = ask(ctx); last == nil {
			return nil
		}
	}
	return fmt.Errorf("does not answer within %v: %w", startLimit, last)
}

// askHTTP asks for the last host and route, with HTTP/2 where the clients of the mode speak it.
func askHTTP(s peer.Setup) func(context.Context) error {
	scheme := "http"
	var config *tls.Config
	if s.TLS {
		scheme = "https"
		pool := x509.NewCertPool()
		pool.AppendCertsFromPEM(s.Cert.Chain)
		config = &tls.Config{RootCAs: pool, ServerName: "bench.test"}
	}
	path := "/100"
	if s.Routes > 0 {
		path = peer.Route(s.Routes-1) + "100"
	}
	host := "bench.test"
	if s.Hosts > 0 {
		host = peer.Host(s.Hosts - 1)
	}
	var protocols http.Protocols
	if s.Mode == peer.HTTP2 || s.Mode == peer.GRPC {
		protocols.SetHTTP2(s.TLS)
		protocols.SetUnencryptedHTTP2(!s.TLS)
	} else {
		protocols.SetHTTP1(true)
	}
	return func(ctx context.Context) error {
		transport := &http.Transport{DisableKeepAlives: true, TLSClientConfig: config, Protocols: &protocols}
		defer transport.CloseIdleConnections()
		client := &http.Client{Transport: transport, Timeout: 5 * time.Second}
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, scheme+"://"+s.Listen.String()+path, nil)
		if err != nil {
			return fmt.Errorf("cannot be asked: %w", err)
		}
		req.Host = host
		res, err := client.Do(req)
		if err != nil {
			return err
		}
		res.Body.Close()
		if res.StatusCode != http.StatusOK {
			return errors.New(res.Status)
		}
		return nil
	}
}

// askUDP sends a datagram and waits a moment for its echo.
func askUDP(s peer.Setup) func(context.Context) error {
	return func(ctx context.Context) error {
		var d net.Dialer
		c, err := d.DialContext(ctx, "udp4", s.Listen.String())
		if err != nil {
			return err
		}
		defer c.Close()
		if err := c.SetDeadline(time.Now().Add(200 * time.Millisecond)); err != nil {
			return err
		}
		if _, err := c.Write([]byte("weir")); err != nil {
			return err
		}
		_, err = c.Read(make([]byte, 16))
		return err
	}
}
