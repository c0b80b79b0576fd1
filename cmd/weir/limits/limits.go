// SPDX-License-Identifier: Apache-2.0

// Package limits runs a rate limiter in a process: it reads its configuration from files,
// which it watches, and from whoever else has domains; it keeps its counters in memory or
// in Redis; and it answers proxies of the process, or others by gRPC.
package limits

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	rlsconfv3 "github.com/envoyproxy/go-control-plane/ratelimit/config/ratelimit/v3"
	"github.com/spf13/pflag"

	"weir.dev/weir/control/limiter"
	"weir.dev/weir/control/limiter/redis"
	"weir.dev/weir/control/source/file"
	"weir.dev/weir/xds"
)

// Options say what is limited and where it is counted.
type Options struct {
	// Paths are files and folders in the form of Envoy's rate limit service.
	Paths []string
	// Redis is where counters are; "" is in memory.
	Redis Redis
	// Prefix begins Redis' keys.
	Prefix string
	// Near is the part of a limit from which requests count as near it.
	Near float64
	// Counters is how many are kept.
	Counters int
	// Shadow lets all pass; Quota has all limits be quotas.
	Shadow, Quota bool
}

// Redis says where Redis is and how to connect.
type Redis struct {
	Type, URL string
	// Auth is password or user:password; AuthFile a file that holds it.
	Auth, AuthFile       string
	SentinelAuth         string
	TLS                  bool
	CA, Certificate, Key string
	ServerName           string
	SkipVerification     bool
	Pool                 int
	Timeout              time.Duration
	prefix               string // of flags
}

// Add defines flags, whose names begin with prefix.
func (o *Options) Add(fs *pflag.FlagSet, prefix string) {
	r := &o.Redis
	r.prefix = prefix
	fs.StringVar(&r.URL, prefix+"redis", r.URL, "count in Redis at this `address`, host:port or redis://...; in memory, if empty")
	fs.StringVar(&r.Type, prefix+"redis-type", r.Type, "`single`, cluster or sentinel; addresses are separated by commas, a sentinel's begin with the master's name")
	fs.StringVar(&r.AuthFile, prefix+"redis-auth-file", "", "`file` with Redis' password, or user:password")
	fs.BoolVar(&r.TLS, prefix+"redis-tls", r.TLS, "connect to Redis over TLS")
	fs.StringVar(&r.CA, prefix+"redis-ca", r.CA, "`file` with authorities of Redis' certificate; the system's, if empty")
	fs.StringVar(&r.Certificate, prefix+"redis-certificate", r.Certificate, "`file` with a certificate to show Redis")
	fs.StringVar(&r.Key, prefix+"redis-key", r.Key, "`file` with that certificate's key")
	fs.StringVar(&r.ServerName, prefix+"redis-server-name", "", "`name` in Redis' certificate; that of its address, if empty")
	fs.IntVar(&r.Pool, prefix+"redis-pool", r.Pool, "`number` of connections to a server of Redis")
	fs.DurationVar(&r.Timeout, prefix+"redis-timeout", r.Timeout, "longest `time` that a question to Redis may take")
	fs.StringVar(&o.Prefix, prefix+"key-prefix", o.Prefix, "`text` that Redis' keys begin with")
	fs.IntVar(&o.Counters, prefix+"counters", o.Counters, "`number` of counters that are kept in memory")
}

// Default are the options where nothing is said.
func Default() Options {
	return Options{Redis: Redis{Type: "single", Pool: 4, Timeout: 100 * time.Millisecond}, Prefix: "weir|", Near: 0.8, Counters: 1 << 18}
}

// options makes those of the store; the error names the flag.
func (r *Redis) options() (redis.Options, error) {
	o, err := redis.Parse(r.Type, r.URL)
	if err != nil {
		return o, fmt.Errorf("--%sredis: %w", r.prefix, err)
	}
	if r.Timeout <= 0 {
		return o, fmt.Errorf("--%sredis-timeout %s: want more than 0", r.prefix, r.Timeout)
	}
	o.PoolSize, o.Timeout = r.Pool, r.Timeout
	auth := r.Auth
	if r.AuthFile != "" {
		data, err := os.ReadFile(r.AuthFile)
		if err != nil {
			return o, fmt.Errorf("--%sredis-auth-file: %w", r.prefix, err)
		}
		auth = strings.TrimSpace(string(data))
	}
	if auth != "" {
		o.Username, o.Password = userAndPassword(auth)
	}
	if r.SentinelAuth != "" {
		o.SentinelUsername, o.SentinelPassword = userAndPassword(r.SentinelAuth)
	}
	if !r.TLS && o.TLS == nil {
		if r.CA != "" || r.Certificate != "" || r.Key != "" || r.ServerName != "" {
			return o, fmt.Errorf("--%sredis-ca and others are given, and no TLS: give --%sredis-tls", r.prefix, r.prefix)
		}
		return o, nil
	}
	o.TLS, err = r.tls()
	return o, err
}

func userAndPassword(text string) (user, password string) {
	if u, p, ok := strings.Cut(text, ":"); ok {
		return u, p
	}
	return "", text
}

func (r *Redis) tls() (*tls.Config, error) {
	t := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: r.ServerName, InsecureSkipVerify: r.SkipVerification}
	if r.CA != "" {
		pem, err := os.ReadFile(r.CA)
		if err != nil {
			return nil, fmt.Errorf("--%sredis-ca: %w", r.prefix, err)
		}
		if t.RootCAs = x509.NewCertPool(); !t.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("--%sredis-ca: %s holds no certificate in PEM", r.prefix, r.CA)
		}
	}
	switch {
	case r.Certificate != "" && r.Key != "":
		pair, err := tls.LoadX509KeyPair(r.Certificate, r.Key)
		if err != nil {
			return nil, fmt.Errorf("--%sredis-certificate: %w", r.prefix, err)
		}
		t.Certificates = []tls.Certificate{pair}
	case r.Certificate != "" || r.Key != "":
		return nil, fmt.Errorf("--%sredis-certificate and --%sredis-key go together", r.prefix, r.prefix)
	}
	return t, nil
}

// Limits is a limiter and what it is made of.
type Limits struct {
	limiter *limiter.Limiter
	store   *redis.Store // nil without
	log     *slog.Logger
	files   *files

	mu      sync.Mutex
	sources map[string][]limiter.Domain

	cancel context.CancelFunc
	done   sync.WaitGroup
}

// Open makes a limiter and reads its files, which it watches until it is closed.
func Open(o Options, log *slog.Logger) (*Limits, error) {
	l := &Limits{log: log, sources: map[string][]limiter.Domain{}, files: &files{paths: o.Paths}}
	lo := limiter.Options{Prefix: o.Prefix, Near: o.Near, Counters: o.Counters, Shadow: o.Shadow, Quota: o.Quota, Log: log}
	if o.Redis.URL != "" {
		ro, err := o.Redis.options()
		if err != nil {
			return nil, err
		}
		l.store = redis.New(ro)
		lo.Store, lo.Timeout = l.store, o.Redis.Timeout
	}
	l.limiter = limiter.New(lo)
	ctx, cancel := context.WithCancel(context.Background())
	l.cancel = cancel
	if len(o.Paths) > 0 {
		list, _, problems, err := l.files.read()
		if err == nil {
			err = xds.Err(problems)
		}
		if err == nil {
			err = l.Set(fromFiles, list)
		}
		if err != nil {
			l.Close()
			return nil, fmt.Errorf("rate limits: %w", err)
		}
		l.done.Go(func() { l.watch(ctx) })
	}
	if l.store != nil {
		l.ping(ctx, o.Redis.Timeout)
	}
	return l, nil
}

// ping tells at once if Redis is not there; it may come.
func (l *Limits) ping(ctx context.Context, timeout time.Duration) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	if err := l.store.Ping(ctx); err != nil {
		l.log.Warn("Redis does not answer: requests are not counted until it does", "error", err)
	}
}

// fromFiles is the source of what files say.
const fromFiles = "files"

// Limiter is the limiter itself.
func (l *Limits) Limiter() *limiter.Limiter { return l.limiter }

// Set replaces the domains of a source. If the domains of all do not go together nothing
// changes.
func (l *Limits) Set(source string, list []limiter.Domain) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	next := maps.Clone(l.sources)
	next[source] = list
	var all []limiter.Domain
	for _, s := range slices.Sorted(maps.Keys(next)) {
		all = append(all, next[s]...)
	}
	if err := l.limiter.Set(all); err != nil {
		return err
	}
	l.sources = next
	return nil
}

// Objects replaces the domains that objects ask for. What cannot be limited is logged, and
// what was limited before goes on.
func (l *Limits) Objects(list []*rlsconfv3.RateLimitConfig) {
	if err := l.Deliver(list); err != nil {
		l.log.Error("rate limits of objects cannot be used, and the old ones go on", "error", err)
	}
}

// Deliver replaces the domains that objects ask for. With an error, what was limited before
// goes on.
func (l *Limits) Deliver(list []*rlsconfv3.RateLimitConfig) error {
	domains := make([]limiter.Domain, 0, len(list))
	var err error
	for _, m := range list {
		d, bad := limiter.FromMessage(m)
		err = errors.Join(err, bad)
		domains = append(domains, d)
	}
	if err != nil {
		return err
	}
	return l.Set("objects", domains)
}

// Domains are those that are limited now.
func (l *Limits) Domains() []limiter.Domain {
	l.mu.Lock()
	defer l.mu.Unlock()
	var all []limiter.Domain
	for _, s := range slices.Sorted(maps.Keys(l.sources)) {
		all = append(all, l.sources[s]...)
	}
	return all
}

// Close ends all; nobody may ask any more.
func (l *Limits) Close() {
	l.cancel()
	l.done.Wait()
	l.limiter.Close()
	if l.store != nil {
		_ = l.store.Close() // There is nothing to write.
	}
}

// watch looks at the files until ctx ends, and takes what is new.
func (l *Limits) watch(ctx context.Context) {
	t := time.NewTicker(file.Interval)
	defer t.Stop()
	last := ""
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
		list, changed, problems, err := l.files.read()
		if !changed && err == nil {
			continue
		}
		if err == nil {
			err = xds.Err(problems)
		}
		if err == nil {
			err = l.Set(fromFiles, list)
		}
		switch {
		case err == nil:
			l.log.Info("rate limits are read anew", "domains", len(list))
			last = ""
		case err.Error() != last:
			l.log.Warn("rate limits are not read anew, and the old ones go on", "error", err)
			last = err.Error()
		}
	}
}

// files are the files of paths as they were read last.
type files struct {
	paths []string
	seen  map[string]stamp
}

type stamp struct {
	size     int64
	modified time.Time
}

// read reads all files if any is another than before.
func (f *files) read() (list []limiter.Domain, changed bool, problems []xds.Problem, err error) {
	names, err := file.Files(f.paths...)
	if err != nil {
		return nil, false, nil, err
	}
	now := map[string]stamp{}
	for _, name := range names {
		info, err := os.Stat(name)
		if err != nil {
			return nil, false, nil, err
		}
		now[name] = stamp{info.Size(), info.ModTime()}
	}
	if f.seen != nil && maps.Equal(now, f.seen) {
		return nil, false, nil, nil
	}
	if len(names) == 0 {
		return nil, false, nil, errors.New(strings.Join(f.paths, ", ") + ": there is no .yaml, .yml or .json file")
	}
	for _, name := range names {
		data, err := file.Read(name)
		if err != nil {
			return nil, false, nil, err
		}
		some, bad := limiter.Parse(name, data)
		list, problems = append(list, some...), append(problems, bad...)
	}
	f.seen = now
	return list, true, problems, nil
}
