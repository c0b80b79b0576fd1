// SPDX-License-Identifier: Apache-2.0

package extproc_test

import (
	"io"
	"net/http"
	"strings"
	"testing"

	extprocv3 "github.com/envoyproxy/go-control-plane/envoy/service/ext_proc/v3"
)

// FuzzAnswers: whatever a processor sends, the request ends, and the proxy lives. An input
// is the messages as they come, each behind a byte that tells its length.
func FuzzAnswers(f *testing.F) {
	pack := func(list ...*extprocv3.ProcessingResponse) []byte {
		var out []byte
		for _, a := range list {
			b := framed(f, a)[5:]
			out = append(append(out, byte(len(b))), b...)
		}
		return out
	}
	none := &extprocv3.CommonResponse{}
	f.Add(uint8(0), pack(onRequest(none), onResponse(none)))
	f.Add(uint8(1), pack(onRequest(none), onRequestBody(&extprocv3.CommonResponse{BodyMutation: replace("x")}), onResponse(none), onResponseBody(none)))
	f.Add(uint8(2), pack(onRequest(&extprocv3.CommonResponse{HeaderMutation: set(":path", "/x", "a", "b")}), onRequestBody(none), onResponse(none)))
	f.Add(uint8(3), pack(onRequest(none), onRequestBody(&extprocv3.CommonResponse{BodyMutation: piece("x", true)}), onResponse(none)))
	f.Add(uint8(1), pack(reply(403, "no")))
	f.Add(uint8(0), pack(onRequest(&extprocv3.CommonResponse{Status: extprocv3.CommonResponse_CONTINUE_AND_REPLACE, BodyMutation: replace("x")})))
	messages := make(chan []byte, 1)
	addr := raw(f, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/grpc")
		w.Header().Set("Trailer", "Grpc-Status")
		_, _ = io.ReadFull(r.Body, make([]byte, 5))
		for in := <-messages; len(in) > 0; {
			n := min(int(in[0]), len(in)-1)
			_, _ = w.Write(frame(in[1 : n+1]))
			in = in[n+1:]
		}
		w.Header().Set("Grpc-Status", "0")
	})
	modes := []string{"", "request_body_mode: BUFFERED, response_body_mode: BUFFERED", "request_body_mode: STREAMED, response_body_mode: BUFFERED_PARTIAL",
		"request_body_mode: FULL_DUPLEX_STREAMED, request_trailer_mode: SEND, response_body_mode: STREAMED"}
	var send []func(t *testing.T)
	for _, m := range modes {
		p, _ := start(f, config{fields: "message_timeout: 2s, allow_mode_override: true, mutation_rules: {allow_all_routing: true, allow_envoy: true}, processing_mode: {" + m + "}"}, addr)
		c, url := client(f, false), "http://"+p.Addr()+"/"
		send = append(send, func(t *testing.T) {
			r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url, strings.NewReader("hello"))
			if err != nil {
				t.Fatal(err)
			}
			if res := do(t, c, r); res.err == nil && res.status < 200 {
				t.Errorf("%+v", res)
			}
		})
	}
	f.Fuzz(func(t *testing.T, mode uint8, in []byte) {
		messages <- in
		send[int(mode)%len(send)](t)
		select {
		case <-messages: // Nobody was asked.
		default:
		}
	})
}
