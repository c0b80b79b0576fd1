// SPDX-License-Identifier: Apache-2.0

// Package oauth is a client of an authorization server's token endpoint (OAuth 2.0,
// RFC 6749): it writes the requests, in which the client proves who it is in one of four
// ways, and reads the answers, which it does not trust.
//
// It sends nothing itself: a filter makes the call on its stream's task, what has no task
// by a [call.Caller]. It knows no cookies and no browsers, and verifies no token.
package oauth

import (
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"weir.dev/weir/proxy/header"
	"weir.dev/weir/proxy/secret"
	"weir.dev/weir/proxy/upstream/call"
)

// A Method is how the client authenticates itself.
type Method uint8

const (
	// Body sends client_id and client_secret in the body (RFC 6749 §2.3.1).
	Body Method = iota
	// Basic sends them by HTTP's Basic scheme, without encoding them first, as Envoy does.
	Basic
	// TLS sends client_id; the certificate of the cluster's transport socket is the proof
	// (RFC 8705).
	TLS
	// KeyJWT sends client_id and an assertion that a private key signed (RFC 7523 §2.2).
	KeyJWT
)

// A Client is one client of one token endpoint. It is immutable.
type Client struct {
	// Calls go to the token endpoint, whose path is the service's.
	Calls  *call.Client
	ID     string
	Method Method
	// Secret is the client's for Body and Basic.
	Secret *secret.Slot
	// Key, Algorithm, Lifetime and Audience make the assertions of KeyJWT. An empty
	// Audience is no audience at all: say the token endpoint.
	Key       *secret.Parsed[*Key]
	Algorithm Algorithm
	Lifetime  time.Duration
	Audience  string
}

// ErrNotReady tells that the client's secret has not come yet, or is empty.
var ErrNotReady = errors.New("the secret of the client is not there yet")

// Ready reports whether there is what the client authenticates itself with.
func (c *Client) Ready() bool {
	switch c.Method {
	case TLS:
		return true
	case KeyJWT:
		return c.Key.Load() != nil
	}
	return len(c.secret()) > 0
}

func (c *Client) secret() []byte {
	if v := c.Secret.Load(); v != nil {
		return v.Generic[""]
	}
	return nil
}

// Signs reports whether Begin takes a while, because it signs: a loop should leave it to
// another goroutine.
func (c *Client) Signs() bool { return c.Method == KeyJWT }

// acceptJSON asks for the one form that answers are read in: some servers have others.
const acceptJSON = "application/json"

var accept = header.NewName("accept")

// Begin readies the call that asks for a token. form is the grant; Begin adds the
// client's authentication to it. The caller ends the call.
func (c *Client) Begin(form url.Values) (*call.Call, error) {
	if !c.Ready() {
		return nil, ErrNotReady
	}
	authorization := ""
	switch c.Method {
	case Body:
		form.Set("client_id", c.ID)
		form.Set("client_secret", string(c.secret()))
	case Basic:
		authorization = "Basic " + base64.StdEncoding.EncodeToString([]byte(c.ID+":"+string(c.secret())))
	case TLS:
		form.Set("client_id", c.ID)
	case KeyJWT:
		a, err := c.assertion(time.Now(), rand.Text())
		if err != nil {
			return nil, fmt.Errorf("client assertion: %w", err)
		}
		form.Set("client_id", c.ID)
		form.Set("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer")
		form.Set("client_assertion", a)
	}
	k := c.Calls.Begin(http.MethodPost, []byte(c.Calls.Service().Path))
	k.Body = append(k.Room(), form.Encode()...)
	k.Request.Set(header.ContentType, "application/x-www-form-urlencoded")
	k.Request.Set(accept, acceptJSON)
	k.Request.SetInt(header.ContentLength, int64(len(k.Body)))
	if authorization != "" {
		k.Request.Set(header.Authorization, authorization)
	}
	return k, nil
}
