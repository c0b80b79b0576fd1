// SPDX-License-Identifier: Apache-2.0

package hcm_test

import (
	"strings"
	"testing"

	"weir.dev/weir/ext/all"
	"weir.dev/weir/internal/leak"
	"weir.dev/weir/proxy/extension"
	"weir.dev/weir/proxy/proxytest"
)

func TestMain(m *testing.M) { leak.Main(m) }

// start runs an edge before an upstream.
func start(t testing.TB, e proxytest.Edge, script func(*proxytest.Session)) (*proxytest.Proxy, *proxytest.Upstream) {
	t.Helper()
	up := proxytest.NewUpstream(t, script)
	return startAt(t, e, up), up
}

func startAt(t testing.TB, e proxytest.Edge, up *proxytest.Upstream) *proxytest.Proxy {
	t.Helper()
	return proxytest.Start(t, e.YAML(), proxytest.Options{
		Extensions: extensions(), Backends: map[string]string{"up": up.Addr()},
	})
}

// get is a plain request.
func get(path string, lines ...string) string {
	return "GET " + path + " HTTP/1.1\r\nhost: a.test\r\n" + fields(lines) + "\r\n"
}

func post(path, body string, lines ...string) string {
	return "POST " + path + " HTTP/1.1\r\nhost: a.test\r\n" + fields(lines) + "\r\n" + body
}

func fields(lines []string) string {
	if len(lines) == 0 {
		return ""
	}
	return strings.Join(lines, "\r\n") + "\r\n"
}

func extensions() *extension.Registry { return all.Extensions() }
