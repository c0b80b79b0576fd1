// SPDX-License-Identifier: Apache-2.0

package logfile

import (
	"bytes"
	"io"
	"strings"
	"testing"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	"google.golang.org/protobuf/encoding/protojson"

	"weir.dev/weir/proxy/accesslog"
	"weir.dev/weir/proxy/format"
	"weir.dev/weir/proxy/streaminfo"
)

// kept is a file in memory.
type kept struct{ bytes.Buffer }

func (*kept) Close() error { return nil }

func TestStream(t *testing.T) {
	for _, tt := range []struct{ format, want string }{
		{"", "[-] \"- - -\" 204 - 0 0 0 - \"-\" \"-\" \"-\" \"-\" \"-\"\n"},
		{`{"json_format": {"c": "%RESPONSE_CODE%"}}`, "{\"c\":204}\n"},
	} {
		var log *corev3.SubstitutionFormatString
		if tt.format != "" {
			log = &corev3.SubstitutionFormatString{}
			if err := protojson.Unmarshal([]byte(tt.format), log); err != nil {
				t.Fatal(err)
			}
		}
		var out kept
		files := NewSet(Options{Open: func(path string) (io.WriteCloser, error) {
			if path != "/dev/stdout" {
				t.Errorf("opened %s", path)
			}
			return &out, nil
		}})
		sink, err := files.Stream("/dev/stdout", log, &format.Loader{})
		if err != nil {
			t.Fatal(err)
		}
		sink.Log(0, &streaminfo.Stream{Status: 204}, accesslog.DownstreamEnd)
		if err := files.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		if out.String() != tt.want {
			t.Errorf("%s: got %q", tt.format, out.String())
		}
	}
}

func TestStreamRefuses(t *testing.T) {
	files := NewSet(Options{})
	defer files.Close(t.Context())
	log := &corev3.SubstitutionFormatString{Format: &corev3.SubstitutionFormatString_TextFormat{TextFormat: "%X%"}}
	if _, err := files.Stream("/dev/stdout", log, &format.Loader{}); err == nil || !strings.HasPrefix(err.Error(), "log_format: text_format: ") {
		t.Errorf("got %v", err)
	}
}
