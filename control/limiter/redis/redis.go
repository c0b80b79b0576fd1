// SPDX-License-Identifier: Apache-2.0

// Package redis keeps the counters of rate limits in Redis, or what speaks like it: one
// server, one that sentinels watch, or a cluster. What a server sends is bounded before
// it is read.
package redis

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/logging"
	"github.com/redis/go-redis/v9/maintnotifications"

	"weir.dev/weir/control/limiter"
)

// Options say where Redis is.
type Options struct {
	// Addresses are host:port or the path of a socket: of the one server, of sentinels, or
	// of some nodes of a cluster.
	Addresses []string
	// Master, if set, is the name under which sentinels know the server.
	Master string
	// Cluster tells that it is a cluster.
	Cluster bool

	Username, Password                 string
	SentinelUsername, SentinelPassword string
	// DB is the number of the database; a cluster has only 0.
	DB int
	// TLS of connections; nil is cleartext. A server is known by the name in its address
	// unless ServerName is set.
	TLS *tls.Config
	// PoolSize is how many connections there are to a server at most; 0 is 4. More are of
	// little use: calls are few and large.
	PoolSize int
	// Timeout of a connection, and of each read and write; 0 is 100 ms.
	Timeout time.Duration
}

// Parse reads Options from what Envoy's rate limit service calls REDIS_TYPE (single,
// sentinel or cluster, in any case; "" is single) and REDIS_URL: host:port, the path of
// a socket, or redis://user:password@host:port/db; rediss:// is with TLS. Several are
// separated by commas; of a sentinel the first is the master's name.
func Parse(kind, text string) (Options, error) {
	var o Options
	parts := strings.Split(text, ",")
	switch strings.ToLower(kind) {
	case "", "single":
		if len(parts) > 1 {
			return o, fmt.Errorf("redis %q: has %d addresses: give one, or the type cluster or sentinel", redact(text), len(parts))
		}
	case "cluster":
		o.Cluster = true
	case "sentinel":
		if o.Master, parts = strings.TrimSpace(parts[0]), parts[1:]; len(parts) == 0 || o.Master == "" {
			return o, fmt.Errorf("redis %q: a sentinel needs the master's name and at least one address: name,host:port", redact(text))
		}
	default:
		return o, fmt.Errorf("redis: type %q is not known: use single, sentinel or cluster", kind)
	}
	for _, p := range parts {
		if err := o.address(strings.TrimSpace(p)); err != nil {
			return o, err
		}
	}
	return o, nil
}

func (o *Options) address(text string) error {
	if strings.HasPrefix(text, "/") {
		o.Addresses = append(o.Addresses, text)
		return nil
	}
	if !strings.Contains(text, "://") {
		return o.hostPort(text, text)
	}
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "redis" && u.Scheme != "rediss" || u.RawQuery != "" {
		return fmt.Errorf("redis %q: want redis://user:password@host:port/db, or rediss:// for TLS", redact(text))
	}
	if u.Scheme == "rediss" && o.TLS == nil {
		o.TLS = &tls.Config{MinVersion: tls.VersionTLS12}
	}
	if u.User != nil {
		o.Username = u.User.Username()
		o.Password, _ = u.User.Password()
	}
	if path := strings.Trim(u.Path, "/"); path != "" {
		if _, err := fmt.Sscanf(path+" ", "%d ", &o.DB); err != nil || o.DB < 0 {
			return fmt.Errorf("redis %q: %q is not the number of a database", redact(text), path)
		}
	}
	return o.hostPort(u.Host, text)
}

func (o *Options) hostPort(host, text string) error {
	if h, port, err := net.SplitHostPort(host); err != nil || h == "" || port == "" {
		return fmt.Errorf("redis %q: want host:port", redact(text))
	}
	o.Addresses = append(o.Addresses, host)
	return nil
}

// redact leaves out what stands before an @.
func redact(text string) string {
	parts := strings.Split(text, ",")
	for i, p := range parts {
		if at := strings.LastIndex(p, "@"); at >= 0 {
			scheme, _, ok := strings.Cut(p, "://")
			if !ok {
				scheme = ""
			} else {
				scheme += "://"
			}
			parts[i] = scheme + "..." + p[at:]
		}
	}
	return strings.Join(parts, ",")
}

// Store is counters in Redis.
type Store struct{ client redis.UniversalClient }

var _ limiter.Store = (*Store)(nil)

// New returns a Store. It connects when it is first asked.
func New(o Options) *Store {
	logging.Disable() // What is wrong is told by errors.
	if o.Timeout <= 0 {
		o.Timeout = 100 * time.Millisecond
	}
	if o.PoolSize <= 0 {
		o.PoolSize = 4
	}
	u := &redis.UniversalOptions{
		Addrs: o.Addresses, MasterName: o.Master, IsClusterMode: o.Cluster, DB: o.DB,
		Username: o.Username, Password: o.Password, SentinelUsername: o.SentinelUsername, SentinelPassword: o.SentinelPassword,
		Dialer: dialer(o.TLS, o.Timeout), Protocol: 2,
		// A question that was asked twice would count twice.
		MaxRetries: -1, DialerRetries: 1,
		DialTimeout: o.Timeout, ReadTimeout: o.Timeout, WriteTimeout: o.Timeout, PoolTimeout: o.Timeout,
		ContextTimeoutEnabled: true, PoolSize: o.PoolSize,
		DisableIdentity: true, MaintNotificationsConfig: &maintnotifications.Config{Mode: maintnotifications.ModeDisabled},
	}
	return &Store{redis.NewUniversalClient(u)}
}

// Close ends all connections.
func (s *Store) Close() error { return s.client.Close() }

// Ping asks whether the server is there.
func (s *Store) Ping(ctx context.Context) error { return s.client.Ping(ctx).Err() }

// Add does all of ops in one pipeline.
func (s *Store) Add(ctx context.Context, ops []limiter.Op) error {
	pipe := s.client.Pipeline()
	answers := make([]interface{ Result() (int64, error) }, len(ops))
	for i := range ops {
		o := &ops[i]
		if o.Add == 0 {
			answers[i] = look{pipe.Get(ctx, o.Key)}
			continue
		}
		answers[i] = pipe.IncrBy(ctx, o.Key, o.Add)
		pipe.Expire(ctx, o.Key, o.TTL)
	}
	_, err := pipe.Exec(ctx)
	refused, failed := 0, 0
	for i := range ops {
		o := &ops[i]
		switch o.Total, o.Err = answers[i].Result(); {
		case o.Err == nil:
		case ofKey(o.Err):
			refused++
		default:
			failed++
		}
	}
	switch {
	case err == nil, ofKey(err), errors.Is(err, redis.Nil):
		return nil
	case failed == len(ops), failed+refused == 0:
		// Where there was no connection to ask on, only err tells.
		return fmt.Errorf("redis: %w", err)
	}
	return nil // Some nodes of a cluster answered; the others' errors stand beside their questions.
}

// look is the answer to a question that adds nothing.
type look struct{ *redis.StringCmd }

func (l look) Result() (int64, error) {
	n, err := l.Int64()
	if errors.Is(err, redis.Nil) {
		return 0, nil
	}
	return n, err
}

// ofKey tells that a server refused one key, and is well itself.
func ofKey(err error) bool {
	var number *strconv.NumError
	if errors.As(err, &number) {
		return true // What the key has is not a number.
	}
	var e redis.Error
	if !errors.As(err, &e) {
		return false
	}
	text := e.Error()
	return strings.HasPrefix(text, "WRONGTYPE") || strings.HasPrefix(text, "ERR ")
}
