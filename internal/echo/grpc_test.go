// SPDX-License-Identifier: Apache-2.0

package echo

import (
	"io"
	"net/http"
	"strings"
	"testing"
)

func TestGRPC(t *testing.T) {
	s, err := Listen("app", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	var protocols http.Protocols
	protocols.SetUnencryptedHTTP2(true)
	tr := &http.Transport{Protocols: &protocols}
	defer tr.CloseIdleConnections()
	const message = "\x00\x00\x00\x00\x05\x0a\x03you"
	req, err := http.NewRequest("POST", "http://"+s.Addresses()[0]+"/greet.Greeter/Say", strings.NewReader(message))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/grpc+proto")
	resp, err := tr.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil || string(body) != message || resp.Trailer.Get("Grpc-Status") != "0" || resp.Header.Get("Content-Type") != "application/grpc+proto" {
		t.Errorf("%v %q %v", err, body, resp.Trailer)
	}
}
