// SPDX-License-Identifier: Apache-2.0

package infra

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"weir.dev/weir/control/source"
	"weir.dev/weir/internal/memo"
)

// Redis says where provisioned proxies count global rate limits. What they show it and trust
// is in Secrets, which are read as they change.
type Redis struct {
	// URL is its address, as --ratelimit-redis of proxies has it.
	URL string
	// Address is the Secret, and the key in it, that has the URL instead.
	Address    source.Name
	AddressKey string
	// TLS has them connect over TLS; a rediss:// URL does so, too.
	TLS bool
	// Secrets have any of the keys auth (a password, or user:password), ca.crt, tls.crt and
	// tls.key. What several have is the last one's.
	Secrets []source.Name
}

// Keys of the Secrets, and of that of a Gateway's proxies.
const (
	redisAuth = "auth"
	redisCA   = "ca.crt"
	redisCert = "tls.crt"
	redisKey  = "tls.key"
)

// Counting is how the proxies of a Plan reach Redis.
type Counting struct {
	// URL has no password.
	URL string
	TLS bool
	// Files is what the Secret of the proxies has.
	Files map[string][]byte
	// Missing tells what they cannot be without, and is not there; "" is nothing.
	Missing string
}

// counting reads the Secrets of Redis; nil is without one.
func (r *Redis) counting(c *memo.Ctx) *Counting {
	if r == nil || r.URL == "" && r.Address == (source.Name{}) {
		return nil
	}
	out := &Counting{URL: r.URL, TLS: r.TLS, Files: map[string][]byte{}}
	if r.Address != (source.Name{}) {
		s, ok := source.Get[*corev1.Secret](c, source.Secret, r.Address)
		switch {
		case !ok:
			return &Counting{Missing: fmt.Sprintf("there is no Secret %s, which has the address of Redis", r.Address)}
		case len(s.Data[r.AddressKey]) == 0:
			return &Counting{Missing: fmt.Sprintf("Secret %s has no key %q, the address of Redis", r.Address, r.AddressKey)}
		}
		out.URL = strings.TrimSpace(string(s.Data[r.AddressKey]))
	}
	out.split()
	for _, name := range r.Secrets {
		s, ok := source.Get[*corev1.Secret](c, source.Secret, name)
		if !ok {
			return &Counting{Missing: fmt.Sprintf("there is no Secret %s, which has what Redis is shown", name)}
		}
		found := false
		for _, key := range []string{redisAuth, redisCA, redisCert, redisKey} {
			if len(s.Data[key]) > 0 {
				out.Files[key], found = s.Data[key], true
			}
		}
		if !found {
			return &Counting{Missing: fmt.Sprintf("Secret %s has none of the keys auth, ca.crt, tls.crt and tls.key, which Redis is shown", name)}
		}
	}
	out.TLS = out.TLS || strings.HasPrefix(out.URL, "rediss://")
	switch {
	case (len(out.Files[redisCert]) == 0) != (len(out.Files[redisKey]) == 0):
		return &Counting{Missing: "of what Redis is shown, tls.crt and tls.key go together, and one of them is not there"}
	case !out.TLS && len(out.Files[redisCA])+len(out.Files[redisCert]) > 0:
		return &Counting{Missing: "Secrets have certificates for Redis, which is not spoken to in TLS: give a rediss:// address, or --ratelimit-redis-tls"}
	}
	return out
}

// split takes user and password out of the URL: everybody sees the arguments of containers.
func (k *Counting) split() {
	u, err := url.Parse(k.URL)
	if err != nil || u.User == nil {
		return
	}
	password, _ := u.User.Password()
	if auth := strings.TrimPrefix(u.User.Username()+":"+password, ":"); auth != "" {
		k.Files[redisAuth] = []byte(auth)
	}
	u.User = nil
	k.URL = u.String()
}

// args are those of the proxies.
func (k *Counting) args() list {
	if k == nil {
		return nil
	}
	out := list{"--ratelimit-redis", k.URL}
	if k.TLS {
		out = append(out, "--ratelimit-redis-tls")
	}
	for _, f := range []struct{ flag, key string }{{"auth-file", redisAuth}, {"ca", redisCA}, {"certificate", redisCert}, {"key", redisKey}} {
		if len(k.Files[f.key]) > 0 {
			out = append(out, "--ratelimit-redis-"+f.flag, redisDir+"/"+f.key)
		}
	}
	return out
}

// secret is the proxies' own; nil if they need none.
func (k *Counting) secret() fields {
	if k == nil || len(k.Files) == 0 {
		return nil
	}
	return fields{"type": "Opaque", "data": k.Files}
}

// mark is a text that is another if the files are, and that tells nothing of them to who
// does not know the key.
func (k *Counting) mark(key []byte) string {
	if k == nil || len(k.Files) == 0 {
		return ""
	}
	h := hmac.New(sha256.New, key)
	for _, name := range slices.Sorted(maps.Keys(k.Files)) {
		fmt.Fprintf(h, "%s %d %s", name, len(k.Files[name]), k.Files[name])
	}
	return hex.EncodeToString(h.Sum(nil))
}
