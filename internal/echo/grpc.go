// SPDX-License-Identifier: Apache-2.0

package echo

import (
	"io"
	"net/http"
	"strings"
)

// wantsGRPC tells whether a request is a gRPC call, which comes by HTTP/2.
func wantsGRPC(r *http.Request) bool {
	const content = "application/grpc"
	rest, ok := strings.CutPrefix(r.Header.Get("Content-Type"), content)
	return ok && r.ProtoMajor == 2 && (rest == "" || rest[0] == '+' || rest[0] == ';')
}

// serveGRPC sends the messages back as they come, and says that the call went well.
// Messages are not read: what a client sends is what it gets, in its own framing.
func serveGRPC(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", r.Header.Get("Content-Type"))
	out := http.NewResponseController(w)
	_ = out.Flush() // A client that is gone is noticed below.
	buf := make([]byte, 32<<10)
	body := http.MaxBytesReader(w, r.Body, MaxBody)
	status := "0"
	for {
		n, err := body.Read(buf)
		if n > 0 {
			if _, err := w.Write(buf[:n]); err != nil || out.Flush() != nil {
				return // The client went away; there is nobody to tell.
			}
		}
		if err == io.EOF {
			break
		}
		if err != nil {
			status = "8" // RESOURCE_EXHAUSTED, or a client that nobody can tell.
			break
		}
	}
	w.Header().Set(http.TrailerPrefix+"Grpc-Status", status)
}
