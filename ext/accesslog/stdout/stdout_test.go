// SPDX-License-Identifier: Apache-2.0

package stdout

import (
	"bytes"
	"io"
	"testing"

	streamv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/access_loggers/stream/v3"
	"go.uber.org/goleak"
	"google.golang.org/protobuf/types/known/anypb"

	"weir.dev/weir/proxy/accesslog"
	"weir.dev/weir/proxy/accesslog/logfile"
	"weir.dev/weir/proxy/format"
	"weir.dev/weir/proxy/streaminfo"
	"weir.dev/weir/xds/ledger/ledgertest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// memory is a file in memory.
type memory struct{ bytes.Buffer }

func (*memory) Close() error { return nil }

// TestLog writes one record; formats are tested with logfile.
func TestLog(t *testing.T) {
	config, err := anypb.New(&streamv3.StdoutAccessLog{})
	if err != nil {
		t.Fatal(err)
	}
	var out memory
	files := logfile.NewSet(logfile.Options{Open: func(path string) (io.WriteCloser, error) {
		if path != "/dev/stdout" {
			t.Errorf("opened %s", path)
		}
		return &out, nil
	}})
	sink, err := New(files, &format.Loader{})(config)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := New(files, &format.Loader{})(&anypb.Any{TypeUrl: "x/y"}); err == nil {
		t.Error("another message was taken")
	}
	sink.Log(0, &streaminfo.Stream{Status: 204}, accesslog.DownstreamEnd)
	if err := files.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if out.Len() == 0 {
		t.Error("nothing was written")
	}
}

func TestFields(t *testing.T) {
	ledgertest.Run(t, "fields.txt", &streamv3.StdoutAccessLog{})
	if got := (&streamv3.StdoutAccessLog{}).ProtoReflect().Descriptor().FullName(); string(got) != Message {
		t.Errorf("Message is not %s", got)
	}
}
