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

var (
	// errLinks is wrapped if a link does not lead to the applied version.
	errLinks = errors.New("not the link that the agent made")
	// errNotShown is wrapped if readers do not see the version that was shown.
	errNotShown = errors.New("readers see another file than the shown version")
)

// value is the path for programs.
func (d configDir) value() string { return filepath.Join(string(d), valueFile) }

// link is a link in the directory of a config.
type link struct{ name, target string }

// links returns the links that show v. The first link is the link that is swapped.
func (d configDir) links(v versionDir) []link {
	return []link{
		{dataLink, v.name()},
		{valueFile, filepath.Join(dataLink, valueFile)},
		{metaFile, filepath.Join(dataLink, metaFile)},
	}
}

// show makes readers see v, by one rename if the other links are in place. It replaces whatever
// has the name of a link, and reads back that readers see the file with the stamp body.
func (d configDir) show(v versionDir, body stamp) error {
	for _, l := range d.links(v) {
		got, err := os.Readlink(filepath.Join(string(d), l.name))
		if err == nil && got == l.target {
			continue
		}
		if err := d.replaceLink(l); err != nil {
			return err
		}
	}
	info, err := os.Stat(d.value())
	if err != nil {
		return err
	}
	if stampOf(info) != body {
		return fmt.Errorf("%s: %w", d.value(), errNotShown)
	}
	return nil
}

// hide deletes the links, and whatever else has the name of a link.
func (d configDir) hide() error {
	for _, name := range []string{valueFile, metaFile, dataLink} {
		path := filepath.Join(string(d), name)
		if err := d.removeDirectory(path); err != nil {
			return err
		}
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// shows reports whether the links lead to v.
func (d configDir) shows(v versionDir) bool {
	target, err := os.Readlink(filepath.Join(string(d), dataLink))
	return err == nil && target == v.name()
}

// checkLinks returns an error that wraps errLinks unless the links lead to v.
func (d configDir) checkLinks(v versionDir) error {
	for _, l := range d.links(v) {
		path := filepath.Join(string(d), l.name)
		if got, err := os.Readlink(path); err != nil || got != l.target {
			return fmt.Errorf("%s: %w", path, errLinks)
		}
	}
	return nil
}

// foreign returns an error that wraps errLinks if anything but a link of the agent has the name
// of a link, whatever version is shown.
func (d configDir) foreign() error {
	for _, l := range d.links(versionDir{}) {
		path := filepath.Join(string(d), l.name)
		if _, err := os.Lstat(path); errors.Is(err, fs.ErrNotExist) {
			continue
		}
		got, err := os.Readlink(path)
		isLink := err == nil && got == l.target
		if l.name == dataLink {
			isLink = err == nil && strings.HasPrefix(got, versionPrefix)
		}
		if !isLink {
			return fmt.Errorf("%s: %w", path, errLinks)
		}
	}
	return nil
}

// replaceLink makes a link. Readers see the old name or the new link.
func (d configDir) replaceLink(l link) error {
	path := filepath.Join(string(d), l.name)
	next := filepath.Join(string(d), stagingPrefix+strings.TrimPrefix(l.name, ".."))
	if err := os.RemoveAll(next); err != nil {
		return err
	}
	if err := d.removeDirectory(path); err != nil {
		return err
	}
	if err := os.Symlink(l.target, next); err != nil {
		return err
	}
	return os.Rename(next, path)
}

// removeDirectory deletes a directory that has the name of a link, which no rename replaces. The
// directory is moved first: the move fails for a mount point, whose files must not be deleted.
func (d configDir) removeDirectory(path string) error {
	if info, err := os.Lstat(path); err != nil || !info.IsDir() {
		return nil
	}
	aside := filepath.Join(string(d), stagingPrefix+"old")
	if err := os.RemoveAll(aside); err != nil {
		return err
	}
	if err := os.Rename(path, aside); err != nil {
		return err
	}
	return os.RemoveAll(aside)
}
