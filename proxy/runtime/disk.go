// SPDX-License-Identifier: Apache-2.0

package runtime

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// Limits of a layer on disk; maxDepth is Envoy's.
const (
	maxDepth = 16
	maxKeys  = 100_000
	maxName  = 4096
	maxText  = 1 << 20
)

func isDir(path string) bool {
	i, err := os.Stat(path)
	return err == nil && i.IsDir()
}

// readDir reads a directory tree: the file a/b/c holds the value of a.b.c.
func readDir(dir string) (map[string]Value, error) {
	values := map[string]Value{}
	if err := walk(values, dir, "", 1); err != nil {
		return nil, err
	}
	return values, nil
}

func walk(values map[string]Value, dir, prefix string, depth int) error {
	if depth > maxDepth {
		return fmt.Errorf("%s: directories are nested more than %d deep", dir, maxDepth)
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		path := filepath.Join(dir, e.Name())
		key := e.Name()
		if prefix != "" {
			key = prefix + "." + key
		}
		info, err := os.Stat(path) // Through a link, as ConfigMaps are mounted.
		switch {
		case err != nil:
			return err
		case info.IsDir():
			if err := walk(values, path, key, depth+1); err != nil {
				return err
			}
		case info.Mode().IsRegular():
			text, err := readFile(path)
			if err != nil {
				return err
			}
			if len(values) == maxKeys {
				return fmt.Errorf("%s: more than %d files", dir, maxKeys)
			}
			values[key] = ParseValue(text)
		}
	}
	return nil
}

// readFile returns what a file holds without the lines that begin with '#' and
// the space at its end.
func readFile(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxText+1))
	if err != nil {
		return "", err
	}
	if len(b) > maxText {
		return "", fmt.Errorf("%s: a value has at most %d bytes", path, maxText)
	}
	var text strings.Builder
	for line := range strings.Lines(string(b)) {
		if !strings.HasPrefix(line, "#") {
			text.WriteString(line)
		}
	}
	return strings.TrimRight(text.String(), " \t\r\n"), nil
}

// mark is what tells that a layer's directory was replaced or changed.
type mark struct {
	root, target  string
	rootAt, dirAt time.Time
	there         bool
}

// marks appends the present mark of each disk layer.
func (r *Runtime) marks(dst []mark) []mark {
	for i := range r.cfg.layers {
		l := &r.cfg.layers[i]
		if l.kind != diskLayer {
			continue
		}
		m := mark{root: l.root}
		if info, err := os.Lstat(l.root); err == nil {
			m.rootAt = info.ModTime()
			// Of what is no link, there is no target.
			m.target, _ = os.Readlink(l.root)
		}
		if info, err := os.Stat(l.dir); err == nil {
			m.dirAt, m.there = info.ModTime(), true
		}
		dst = append(dst, m)
	}
	return dst
}
