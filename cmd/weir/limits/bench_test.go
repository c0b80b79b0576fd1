// SPDX-License-Identifier: Apache-2.0

package limits

import (
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"testing"

	"weir.dev/weir/ext/http/ratelimit"
	"weir.dev/weir/proxy/stream/streamtest"
	"weir.dev/weir/test/redistest"
)

// BenchmarkGlobalLimit sends requests through a chain without and with a global limit that none of them reaches, counted in
// memory and shared through Redis.
func BenchmarkGlobalLimit(b *testing.B) {
	request := streamtest.Request{Header: []string{"x-user: ann"}}
	b.Run("without", func(b *testing.B) { streamtest.New(b).Bench(b, request) })
	limited := func(b *testing.B, change func(*Options)) {
		b.Helper()
		path := filepath.Join(b.TempDir(), "web.yaml")
		if err := os.WriteFile(path, fmt.Appendf(nil, limitOf, 1_000_000_000), 0o600); err != nil {
			b.Fatal(err)
		}
		o := Default()
		o.Paths = []string{path}
		change(&o)
		l, err := Open(o, slog.New(slog.DiscardHandler))
		if err != nil {
			b.Fatal(err)
		}
		defer l.Close()
		rig := streamtest.New(b)
		rig.Services.Limiter = l.Local()
		rig.Add(ratelimit.Extension(), `{"domain":"web","rate_limit_service":{"transport_api_version":"V3","grpc_service":{"envoy_grpc":{"cluster_name":"weir.limiter"}}},
			"enable_x_ratelimit_headers":"DRAFT_VERSION_03","rate_limits":[{"actions":[{"request_headers":{"header_name":"x-user","descriptor_key":"user"}}]}]}`)
		rig.Bench(b, request)
	}
	b.Run("in memory", func(b *testing.B) { limited(b, func(*Options) {}) })
	b.Run("shared", func(b *testing.B) {
		r := redistest.Start(b)
		limited(b, func(o *Options) { o.Redis.URL = r.Address })
	})
}
