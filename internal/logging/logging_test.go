// SPDX-License-Identifier: Apache-2.0

package logging

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"testing/slogtest"
	"time"

	"github.com/google/go-cmp/cmp"
)

func at() time.Time {
	return time.Date(2026, 11, 21, 8, 0, 0, 123456789, time.UTC)
}

// line logs one record through a logger with the given options and returns the line without its end.
func line(t *testing.T, o Options, log func(l *slog.Logger)) string {
	t.Helper()
	var out bytes.Buffer
	logs, err := New(&out, o)
	if err != nil {
		t.Fatal(err)
	}
	h := logs.Logger("main").Handler()
	log(slog.New(stopped{h}))
	return strings.TrimSuffix(out.String(), "\n")
}

// stopped gives each record the time of at.
type stopped struct{ slog.Handler }

func (s stopped) Handle(ctx context.Context, r slog.Record) error {
	r.Time = at()
	return s.Handler.Handle(ctx, r)
}
func (s stopped) WithAttrs(a []slog.Attr) slog.Handler { return stopped{s.Handler.WithAttrs(a)} }
func (s stopped) WithGroup(n string) slog.Handler      { return stopped{s.Handler.WithGroup(n)} }

func TestLine(t *testing.T) {
	tests := []struct {
		name   string
		format string
		log    func(l *slog.Logger)
		want   string
	}{
		{
			name: "message and attributes",
			log:  func(l *slog.Logger) { l.Info("listener bound", "address", "127.0.0.1:8080", "workers", 2) },
			want: "[2026-11-21 08:00:00.123][info][main] listener bound address=127.0.0.1:8080 workers=2",
		}, {
			name: "values that need quotes",
			log: func(l *slog.Logger) {
				l.Warn("x", "a", "two words", "b", "", "c", `q"`, "d", "k=v", "e", "line\nbreak", "f", errors.New("no: way"))
			},
			want: `[2026-11-21 08:00:00.123][warning][main] x a="two words" b="" c="q\"" d="k=v" e="line\nbreak" f="no: way"`,
		}, {
			name: "a message cannot forge a line",
			log:  func(l *slog.Logger) { l.Error("one\n[2026] two\x1b[31m\xff\u0085") },
			want: `[2026-11-21 08:00:00.123][error][main] one\n[2026] two\x1b[31m\xff\xc2\x85`,
		}, {
			name: "groups are dotted",
			log: func(l *slog.Logger) {
				l.With("a", 1).WithGroup("tls").With("b", 2).Info("m", slog.Group("peer", "c", 3), "d", time.Second)
			},
			want: "[2026-11-21 08:00:00.123][info][main] m a=1 tls.b=2 tls.peer.c=3 tls.d=1s",
		}, {
			name:   "json",
			format: "json",
			log: func(l *slog.Logger) {
				l.Log(t.Context(), LevelCritical, "a \"b\"\n", "n", 1, "f", 1.5, "ok", true, "s", "x\x00y", "at", at())
			},
			want: `{"time":"2026-11-21T08:00:00.123456789Z","level":"critical","component":"main","message":"a \"b\"\n",` +
				`"n":1,"f":1.5,"ok":true,"s":"x\u0000y","at":"2026-11-21T08:00:00.123456789Z"}`,
		}, {
			name:   "every time flag",
			format: "%a %A %b %B|%c|%C %Y %D %x %m %d %H %I %M %S %e %f %F %p|%r|%R %T %X %z %%",
			log:    func(l *slog.Logger) { l.Info("m") },
			want: "Sat Saturday Nov November|Sat Nov 21 08:00:00 2026|26 2026 11/21/26 11/21/26 11 21 08 08 00 00 123 123456 123456789 AM|" +
				"08:00:00 AM|08:00 08:00:00 08:00:00 +00:00 %",
		}, {
			name:   "a pattern that is JSON",
			format: `{"level":"%l","short":"%L","scope":"envoy %n","message":"%j"}`,
			log:    func(l *slog.Logger) { l.Debug(`say "hi"`, "k", "v w") },
			want:   `{"level":"debug","short":"D","scope":"envoy main","message":"say \"hi\" k=\"v w\""}`,
		}, {
			name:   "source",
			format: "%s %_",
			log:    func(l *slog.Logger) { l.Info("m") },
			want:   "logging_test.go m",
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := line(t, Options{Format: tt.format, Level: LevelTrace}, tt.log)
			if got != tt.want {
				t.Errorf("wrong line (-want +got):\n%s", cmp.Diff(tt.want, got))
			}
		})
	}
}

func TestJSONIsValidWhateverIsLogged(t *testing.T) {
	got := line(t, Options{Format: "json"}, func(l *slog.Logger) {
		l.Info("\xff\u2028\x7f\"\\", "key \x01", []byte{0xff, '"'}, "nan", "NaN")
	})
	var v map[string]any
	if err := json.Unmarshal([]byte(got), &v); err != nil {
		t.Fatalf("%s: %v", got, err)
	}
}

func TestFormatRefused(t *testing.T) {
	tests := []struct{ format, want string }{
		{"%v %", "ends in a single %"},
		{"%q", "unknown flag %q"},
		{"%-10l", "unknown flag %-"},
		{"a\nb", "a line break would split records"},
		{strings.Repeat("x", maxFormat+1), "more than the 4096 allowed"},
	}
	for _, tt := range tests {
		err := CheckFormat(tt.format)
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("CheckFormat(%.20q) = %v, want an error with %q", tt.format, err, tt.want)
		}
	}
}

func TestLevels(t *testing.T) {
	var out bytes.Buffer
	components, err := ParseComponentLevels("upstream:debug,admin:off")
	if err != nil {
		t.Fatal(err)
	}
	logs, err := New(&out, Options{Level: LevelWarning, Components: components, Format: "%n %l %v"})
	if err != nil {
		t.Fatal(err)
	}
	main, upstream, admin := logs.Logger("main"), logs.Logger("upstream"), logs.Logger("admin")
	main.Info("hidden")
	main.Warn("one")
	upstream.Debug("two")
	upstream.Log(t.Context(), LevelTrace, "hidden")
	admin.Log(t.Context(), LevelCritical, "hidden")
	if err := logs.SetLevel("main", LevelTrace); err != nil {
		t.Fatal(err)
	}
	main.Log(t.Context(), LevelTrace, "three")
	logs.SetAll(LevelError)
	upstream.Warn("hidden")
	admin.Error("four")
	Component(main, "new").Warn("hidden")
	want := "main warning one\nupstream debug two\nmain trace three\nadmin error four\n"
	if got := out.String(); got != want {
		t.Errorf("wrong log (-want +got):\n%s", cmp.Diff(want, got))
	}
	wantLevels := []ComponentLevel{{"admin", LevelError}, {"main", LevelError}, {"new", LevelError}, {"upstream", LevelError}}
	if d := cmp.Diff(wantLevels, logs.Levels()); d != "" {
		t.Errorf("wrong levels (-want +got):\n%s", d)
	}
	if err := logs.SetLevel("upstraem", LevelDebug); err == nil || !strings.Contains(err.Error(), `did you mean "upstream"?`) {
		t.Errorf("a misspelt component: %v, want the nearest name", err)
	}
}

// TestManyAtOnce logs from several goroutines while levels change: whole lines, none lost.
func TestManyAtOnce(t *testing.T) {
	var out bytes.Buffer
	logs, err := New(&out, Options{Format: "%n %v"})
	if err != nil {
		t.Fatal(err)
	}
	var writers sync.WaitGroup
	for i := range 4 {
		writers.Go(func() {
			l := logs.Logger(string(rune('a' + i)))
			for range 100 {
				l.Info("line", "k", "v")
				logs.SetAll(LevelDebug)
				logs.Levels()
			}
		})
	}
	writers.Wait()
	for _, name := range []string{"a", "b", "c", "d"} {
		if n := strings.Count(out.String(), name+" line k=v\n"); n != 100 {
			t.Errorf("component %s has %d whole lines, want 100", name, n)
		}
	}
}

func TestParseLevelRoundTrip(t *testing.T) {
	for _, name := range LevelNames() {
		level, err := ParseLevel(name)
		if err != nil || LevelName(level) != name {
			t.Errorf("ParseLevel(%q) = %v, %v; named %q", name, level, err, LevelName(level))
		}
	}
	for _, bad := range []string{"", "INFO", "verbose"} {
		if _, err := ParseLevel(bad); err == nil {
			t.Errorf("ParseLevel(%q) passed", bad)
		}
	}
	for _, bad := range []string{"upstream", "upstream:loud", ":debug", "a:debug,"} {
		if _, err := ParseComponentLevels(bad); err == nil {
			t.Errorf("ParseComponentLevels(%q) passed", bad)
		}
	}
}

func TestForeignLogger(t *testing.T) {
	var out bytes.Buffer
	l := slog.New(slog.NewJSONHandler(&out, nil))
	if _, ok := Of(l); ok {
		t.Error("Of took a handler of another package for its own")
	}
	Component(l, "upstream").Info("m")
	if !strings.Contains(out.String(), `"component":"upstream"`) {
		t.Errorf("component missing in %s", out.String())
	}
}

func TestHandlerObeysSlog(t *testing.T) {
	var out bytes.Buffer
	newHandler := func(*testing.T) slog.Handler {
		out.Reset()
		logs, err := New(&out, Options{Format: "json"})
		if err != nil {
			t.Fatal(err)
		}
		return logs.Logger("main").Handler()
	}
	slogtest.Run(t, newHandler, func(t *testing.T) map[string]any {
		// A record without a time gets the present one: an undated line is of no use.
		if strings.HasSuffix(t.Name(), "/zero-time") {
			t.Skip("a record without a time is dated on purpose")
		}
		flat := map[string]any{}
		if err := json.Unmarshal(out.Bytes(), &flat); err != nil {
			t.Fatalf("%s: %v", out.Bytes(), err)
		}
		flat["msg"] = flat["message"]
		return nest(flat)
	})
}

// nest turns dotted keys back into the maps that slogtest looks for.
func nest(flat map[string]any) map[string]any {
	out := map[string]any{}
	for k, v := range flat {
		m := out
		for {
			head, tail, more := strings.Cut(k, ".")
			if !more {
				m[k] = v
				break
			}
			sub, ok := m[head].(map[string]any)
			if !ok {
				sub = map[string]any{}
				m[head] = sub
			}
			m, k = sub, tail
		}
	}
	return out
}

func TestFileReopen(t *testing.T) {
	path := filepath.Join(t.TempDir(), "weir.log")
	f, err := OpenFile(path)
	if err != nil {
		t.Fatal(err)
	}
	write := func(s string) {
		t.Helper()
		if _, err := io.WriteString(f, s); err != nil {
			t.Fatal(err)
		}
	}
	write("one\n")
	if err := os.Rename(path, path+".1"); err != nil {
		t.Fatal(err)
	}
	write("two\n")
	if err := f.Reopen(); err != nil {
		t.Fatal(err)
	}
	write("three\n")
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{path + ".1": "one\ntwo\n", path: "three\n"} {
		got, err := os.ReadFile(name)
		if err != nil || string(got) != want {
			t.Errorf("%s holds %q (%v), want %q", filepath.Base(name), got, err, want)
		}
	}
	if _, err := OpenFile(filepath.Join(path, "not-a-folder")); err == nil {
		t.Error("a path below a file was opened")
	}
}

func TestDisabledRecordCostsNothing(t *testing.T) {
	logs, err := New(io.Discard, Options{})
	if err != nil {
		t.Fatal(err)
	}
	l := logs.Logger("upstream")
	if n := testing.AllocsPerRun(1000, func() { l.Debug("pool miss") }); n != 0 {
		t.Errorf("a record below the threshold costs %v allocations, want 0", n)
	}
}

func FuzzFormat(f *testing.F) {
	f.Add("[%Y-%m-%d %T.%e][%l][%n] %v", "m", "v")
	f.Add("json", "\x00", "\n")
	f.Add("%j %@ %C%f%F", "\"", "=")
	control := regexp.MustCompile(`[\x00-\x1f\x7f]`)
	f.Fuzz(func(t *testing.T, format, message, value string) {
		if CheckFormat(format) != nil || control.MatchString(format) {
			return
		}
		var out bytes.Buffer
		logs, err := New(&out, Options{Format: format})
		if err != nil {
			t.Fatal(err)
		}
		logs.Logger(message).Info(message, value, value)
		got, ok := strings.CutSuffix(out.String(), "\n")
		if !ok || control.MatchString(got) {
			t.Errorf("not one clean line: %q", out.String())
		}
		if format == "json" && !json.Valid([]byte(got)) {
			t.Errorf("not JSON: %q", got)
		}
	})
}
