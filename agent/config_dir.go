package agent

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// configDir is the directory of a config. Programs open the links value and meta.json, which
// lead through ..data to the shown version.
type configDir string

// errLinks is wrapped if a link does not lead to the applied version.
var errLinks = errors.New("not the link that the agent made")

// value is the path for programs.
func (d configDir) value() string { return filepath.Join(string(d), valueFile) }

// show makes readers see v, by one rename.
func (d configDir) show(v versionDir) error {
	link := filepath.Join(string(d), dataLink)
	current, err := os.Readlink(link)
	if err != nil || current != v.name() {
		if err := d.replaceLink(dataLink, v.name()); err != nil {
			return err
		}
	}
	for _, name := range []string{valueFile, metaFile} {
		err := os.Symlink(filepath.Join(dataLink, name), filepath.Join(string(d), name))
		if err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
	}
	return nil
}

// hide deletes the links.
func (d configDir) hide() error {
	for _, name := range []string{valueFile, metaFile, dataLink} {
		err := os.Remove(filepath.Join(string(d), name))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// checkLinks returns an error that wraps errLinks unless the links lead
// to v.
func (d configDir) checkLinks(v versionDir) error {
	links := map[string]string{
		dataLink:  v.name(),
		valueFile: filepath.Join(dataLink, valueFile),
		metaFile:  filepath.Join(dataLink, metaFile),
	}
	for name, target := range links {
		path := filepath.Join(string(d), name)
		if got, err := os.Readlink(path); err != nil || got != target {
			return fmt.Errorf("%s: %w", path, errLinks)
		}
	}
	return nil
}

// relink makes the links lead to v, and replaces any file with the name of a
// link.
func (d configDir) relink(v versionDir) error {
	for _, name := range []string{valueFile, metaFile} {
		target := filepath.Join(dataLink, name)
		if got, err := os.Readlink(filepath.Join(string(d), name)); err == nil && got == target {
			continue
		}
		if err := d.replaceLink(name, target); err != nil {
			return err
		}
	}
	return d.show(v)
}

// replaceLink makes name a link to target. Readers see the old name or the new link.
func (d configDir) replaceLink(name, target string) error {
	next := filepath.Join(string(d), stagingPrefix+strings.TrimPrefix(name, ".."))
	if err := os.Remove(next); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := os.Symlink(target, next); err != nil {
		return err
	}
	return os.Rename(next, filepath.Join(string(d), name))
}
