# SPDX-License-Identifier: Apache-2.0
# needs: git
# timeout: 120
export GIT_CONFIG_NOSYSTEM=1 GIT_AUTHOR_DATE='2020-01-01T00:00:00Z' GIT_COMMITTER_DATE='2020-01-01T00:00:00Z'
export GIT_AUTHOR_NAME=a GIT_AUTHOR_EMAIL=a@b GIT_COMMITTER_NAME=a GIT_COMMITTER_EMAIL=a@b
git init -q -b main repo && cd repo
for i in 1 2 3; do seq $i 100 > f$i; git add f$i; git commit -q -m "commit $i"; done
git log --format='%H %s' && git fsck --strict && git status --short | wc -l
git gc -q && git count-objects -v | grep -E 'packs|in-pack'
git clone -q . ../clone && git -C ../clone log --oneline | wc -l
git branch topic && git checkout -q topic && echo change >> f1 && git commit -qam topic && git checkout -q main && git merge -q topic && git rev-parse HEAD
