// SPDX-License-Identifier: Apache-2.0

package kubelet

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// defaultMode is that of a volume's files, where the volume names none.
const defaultMode = 0o644

// contents are the files of a volume, by path.
type contents map[string]content

type content struct {
	data []byte
	mode os.FileMode
}

// volumes makes every volume of the pod, or brings those up to date that are there.
func (w *worker) volumes(ctx context.Context) error {
	for i := range w.spec.Volumes {
		v := &w.spec.Volumes[i]
		if err := w.volume(ctx, v); err != nil {
			return fmt.Errorf("volume %s: %w", v.Name, err)
		}
	}
	return nil
}

// volumeDir is where the volume of a name lies on the node.
func (w *worker) volumeDir(name string) string { return filepath.Join(w.dir, "volumes", name) }

func (w *worker) volume(ctx context.Context, v *corev1.Volume) error {
	dir := w.volumeDir(v.Name)
	files := contents{}
	var err error
	switch {
	case v.EmptyDir != nil:
		if err := makeDir(dir); err != nil {
			return err
		}
		return os.Chmod(dir, 0o777)
	case v.HostPath != nil:
		return nil
	case v.Secret != nil:
		data, err1 := w.secret(v.Secret.SecretName, v.Secret.Optional)
		err = first(err1, files.keys(data, v.Secret.Items, mode(v.Secret.DefaultMode)))
	case v.ConfigMap != nil:
		data, err1 := w.configMap(v.ConfigMap.Name, v.ConfigMap.Optional)
		err = first(err1, files.keys(data, v.ConfigMap.Items, mode(v.ConfigMap.DefaultMode)))
	case v.DownwardAPI != nil:
		err = w.downward(files, v.DownwardAPI.Items, mode(v.DownwardAPI.DefaultMode))
	case v.Projected != nil:
		for _, s := range v.Projected.Sources {
			if err = w.project(ctx, files, v.Name, s, mode(v.Projected.DefaultMode)); err != nil {
				break
			}
		}
	default:
		return fmt.Errorf("the test kubelet has no volumes of this kind: only Secrets, ConfigMaps, projected, downwardAPI, emptyDir and hostPath")
	}
	if err != nil {
		return err
	}
	return w.publish(dir, files)
}

func (w *worker) project(ctx context.Context, files contents, volume string, s corev1.VolumeProjection, mode os.FileMode) error {
	switch {
	case s.Secret != nil:
		data, err := w.secret(s.Secret.Name, s.Secret.Optional)
		return first(err, files.keys(data, s.Secret.Items, mode))
	case s.ConfigMap != nil:
		data, err := w.configMap(s.ConfigMap.Name, s.ConfigMap.Optional)
		return first(err, files.keys(data, s.ConfigMap.Items, mode))
	case s.DownwardAPI != nil:
		return w.downward(files, s.DownwardAPI.Items, mode)
	case s.ServiceAccountToken != nil:
		token, err := w.token(ctx, volume, s.ServiceAccountToken)
		files[s.ServiceAccountToken.Path] = content{[]byte(token), mode}
		return err
	}
	return fmt.Errorf("the test kubelet has no such projection: only Secrets, ConfigMaps, downwardAPI and serviceAccountToken")
}

func (w *worker) downward(files contents, items []corev1.DownwardAPIVolumeFile, mode os.FileMode) error {
	for _, item := range items {
		if item.FieldRef == nil {
			return fmt.Errorf("%s: the test kubelet writes fields into volumes, not resources", item.Path)
		}
		value, err := w.field(item.FieldRef.FieldPath)
		if err != nil {
			return err
		}
		files[item.Path] = content{[]byte(value), mode}
	}
	return nil
}

// A token is one that the apiserver gave, and when to ask for another.
type token struct {
	text  string
	renew time.Time
}

func (w *worker) token(ctx context.Context, volume string, p *corev1.ServiceAccountTokenProjection) (string, error) {
	key := volume + "/" + p.Path
	if t, ok := w.tokens[key]; ok && time.Now().Before(t.renew) {
		return t.text, nil
	}
	request := &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{
		ExpirationSeconds: p.ExpirationSeconds,
		BoundObjectRef:    &authenticationv1.BoundObjectReference{Kind: "Pod", APIVersion: "v1", Name: w.name, UID: w.uid},
	}}
	if p.Audience != "" {
		request.Spec.Audiences = []string{p.Audience}
	}
	asked := time.Now()
	got, err := w.k.Client.CoreV1().ServiceAccounts(w.namespace).CreateToken(ctx, w.spec.ServiceAccountName, request, metav1.CreateOptions{})
	if err != nil {
		return "", fmt.Errorf("ask for a token: %w", err)
	}
	// As the kubelet does it: when four fifths of its life are over.
	w.tokens[key] = token{got.Status.Token, asked.Add(got.Status.ExpirationTimestamp.Sub(asked) * 4 / 5)}
	return got.Status.Token, nil
}

// keys takes the keys that items name, or all, as files.
func (f contents) keys(data map[string][]byte, items []corev1.KeyToPath, mode os.FileMode) error {
	if items == nil {
		for key, value := range data {
			f[key] = content{value, mode}
		}
		return nil
	}
	for _, item := range items {
		value, ok := data[item.Key]
		if !ok && data != nil {
			return fmt.Errorf("there is no key %q", item.Key)
		}
		if item.Mode != nil {
			mode = os.FileMode(*item.Mode)
		}
		f[item.Path] = content{value, mode}
	}
	return nil
}

// publish puts files into dir so that who reads sees all old ones or all new ones: the files lie in a folder of their
// own, to which the link ..data points, which is replaced. It is the layout of Kubernetes' own kubelet.
func (w *worker) publish(dir string, files contents) error {
	name := ".." + files.sum()
	data := filepath.Join(dir, "..data")
	previous, _ := os.Readlink(data) // There is none yet.
	if previous == name {
		return nil
	}
	for _, path := range slices.Sorted(maps.Keys(files)) {
		file := filepath.Join(dir, name, path)
		if err := makeDir(filepath.Dir(file)); err != nil {
			return err
		}
		if err := os.WriteFile(file, files[path].data, files[path].mode); err != nil {
			return err
		}
		if err := os.Chown(file, w.user(), w.group()); err != nil {
			return err
		}
	}
	if err := makeDir(filepath.Join(dir, name)); err != nil { // Of a volume without files.
		return err
	}
	if err := relink(name, data); err != nil {
		return err
	}
	for path := range files {
		top, _, _ := strings.Cut(path, "/")
		if err := relink(filepath.Join("..data", top), filepath.Join(dir, top)); err != nil {
			return err
		}
	}
	if previous == "" {
		return nil
	}
	if err := os.RemoveAll(filepath.Join(dir, previous)); err != nil {
		return err
	}
	return removeDangling(dir)
}

// removeDangling removes links to files that are no more.
func removeDangling(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		path := filepath.Join(dir, e.Name())
		if _, err := os.Stat(path); os.IsNotExist(err) {
			if err := os.Remove(path); err != nil {
				return err
			}
		}
	}
	return nil
}

// relink makes a link or replaces it in one step.
func relink(to, name string) error {
	if err := os.Symlink(to, name+".new"); err != nil {
		return err
	}
	return os.Rename(name+".new", name)
}

func (f contents) sum() string {
	sum := sha256.New()
	for _, path := range slices.Sorted(maps.Keys(f)) {
		fmt.Fprintln(sum, path, f[path].mode, len(f[path].data))
		sum.Write(f[path].data)
	}
	return hex.EncodeToString(sum.Sum(nil))[:16]
}

func mode(m *int32) os.FileMode {
	if m == nil {
		return defaultMode
	}
	return os.FileMode(*m)
}

func first(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}
