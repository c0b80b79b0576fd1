// SPDX-License-Identifier: Apache-2.0

package demo

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"go.yaml.in/yaml/v4"
)

// maxFile bounds one configuration file, in bytes.
const maxFile = 64 << 20

// A File is one Envoy bootstrap, not yet read.
type File struct {
	Path string
	Data []byte
}

// A Set is what "weir run" was given.
type Set struct {
	// Bootstraps are proxies to run, in the order of the paths and, within a folder, of the names.
	Bootstraps []File
	// Demo is nil when no path holds one.
	Demo *Demo
	// Objects are files that hold objects of other kinds, which make Gateways.
	Objects []string
}

// Scan reads paths. A file is taken as it is; of a folder, every file whose name ends in .yaml, .yml or
// .json, without its subfolders. A file with apiVersion and kind is a Demo, of which there may be one, or holds
// objects; every other file is an Envoy bootstrap, so that one which is neither is refused and not passed over.
func Scan(paths ...string) (*Set, error) {
	files, err := expand(paths)
	if err != nil {
		return nil, err
	}
	set := &Set{}
	var errs []error
	demoFile := ""
	for _, path := range files {
		data, err := read(path)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		kind, isObject := identify(path, data)
		switch {
		case !isObject:
			set.Bootstraps = append(set.Bootstraps, File{Path: path, Data: data})
		case kind != Kind:
			set.Objects = append(set.Objects, path)
		case demoFile != "":
			errs = append(errs, fmt.Errorf("%s: %s holds a %s already: put both into one", path, demoFile, Kind))
		default:
			demoFile = path
			d, err := Parse(path, data)
			if err != nil {
				errs = append(errs, err)
			}
			set.Demo = d
		}
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	if len(set.Bootstraps)+len(set.Objects) == 0 {
		return nil, fmt.Errorf("no Envoy bootstrap and no Gateway in %s: give a .yaml or .json file, or a folder that holds one", strings.Join(paths, ", "))
	}
	return set, nil
}

// expand lists the files of paths.
func expand(paths []string) ([]string, error) {
	var out []string
	for _, p := range paths {
		info, err := os.Stat(p)
		if err != nil {
			return nil, fmt.Errorf("read configuration: %w", err)
		}
		if !info.IsDir() {
			out = append(out, p)
			continue
		}
		entries, err := os.ReadDir(p)
		if err != nil {
			return nil, fmt.Errorf("read configuration: %w", err)
		}
		for _, e := range entries { // ReadDir sorts by name.
			if configuration(e) {
				out = append(out, filepath.Join(p, e.Name()))
			}
		}
	}
	if i, twice := firstTwice(out); twice {
		return nil, fmt.Errorf("%s is given twice", out[i])
	}
	return out, nil
}

// configuration tells whether a member of a folder is read. Hidden files are editors' and Kubernetes' own.
func configuration(e fs.DirEntry) bool {
	if e.IsDir() || strings.HasPrefix(e.Name(), ".") {
		return false
	}
	return slices.Contains([]string{".yaml", ".yml", ".json"}, filepath.Ext(e.Name()))
}

func firstTwice(paths []string) (int, bool) {
	seen := map[string]bool{}
	for i, p := range paths {
		clean := filepath.Clean(p)
		if seen[clean] {
			return i, true
		}
		seen[clean] = true
	}
	return 0, false
}

func read(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("read configuration: %w", err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return nil, fmt.Errorf("read configuration: %w", err)
	}
	if len(data) > maxFile {
		return nil, fmt.Errorf("%s: larger than the %d MiB allowed", path, maxFile>>20)
	}
	return data, nil
}

// NotObjects reports whether a file is not one of a Set's Objects.
func NotObjects(path string, data []byte) bool {
	kind, isObject := identify(path, data)
	return !isObject || kind == Kind
}

// identify returns the kind of a file and whether it is an object, which has an apiVersion or a kind. What
// is not even YAML is left to the reader of bootstraps, whose messages are the better ones.
func identify(name string, data []byte) (kind string, isObject bool) {
	root, err := document(name, data)
	if err != nil || root.Kind != yaml.MappingNode {
		return "", false
	}
	for i := 0; i+1 < len(root.Content); i += 2 {
		switch key, value := root.Content[i], root.Content[i+1]; key.Value {
		case "kind":
			kind, isObject = value.Value, true
		case "apiVersion":
			isObject = true
		}
	}
	return kind, isObject
}
