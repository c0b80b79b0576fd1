// SPDX-License-Identifier: Apache-2.0

package router_test

import (
	"testing"

	"weir.dev/weir/proxy/proxytest"
)

// TestLogResponse: the access log knows the response's head and trailers.
func TestLogResponse(t *testing.T) {
	u := proxytest.NewUpstream(t, steps("HTTP/1.1 200 OK\r\nx-a: 1\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nx-t: 2\r\n\r\n"))
	p := start(t, proxytest.Edge{
		AccessLog: "%RESP(x-a)% %TRAILER(x-t)%",
		Manager:   "http_protocol_options: {enable_trailers: true}",
		Cluster:   "http_protocol_options: {enable_trailers: true}",
	}, up(u))
	check(t, "response", p.Do("GET / HTTP/1.1\r\nhost: a\r\nte: trailers\r\n\r\n").Content, "ok")
	check(t, "log", p.LogLines(1)[0], "1 2")
}
