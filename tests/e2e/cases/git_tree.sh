# SPDX-License-Identifier: Apache-2.0
# needs: git
# timeout: 180
# git on a tree of 2,000 files: gc, clone, rebase, stash, worktree, fsck.
export GIT_CONFIG_NOSYSTEM=1 GIT_AUTHOR_DATE='2020-01-01T00:00:00Z' GIT_COMMITTER_DATE='2020-01-01T00:00:00Z' HOME=$PWD
export GIT_AUTHOR_NAME=a GIT_AUTHOR_EMAIL=a@b GIT_COMMITTER_NAME=a GIT_COMMITTER_EMAIL=a@b GIT_PAGER=cat
git init -q -b main repo && cd repo
for d in $(seq 40); do mkdir d$d; for f in $(seq 50); do echo "$d $f" > d$d/f$f; done; done
git add . && git commit -q -m one && git ls-files | wc -l && git rev-parse HEAD
for d in $(seq 5); do seq 100 > d$d/f1; git commit -qam "change $d"; done
git log --oneline --stat | md5sum; git fsck --full --strict 2>&1; git gc -q 2>&1; git count-objects -v | grep -E 'count|in-pack|packs'
git clone -q . ../clone 2>&1; git clone -q file://$PWD ../clone2 2>&1; git -C ../clone2 log --format=%s | md5sum
git checkout -q -b topic HEAD~3; echo topic > new; git add new; git commit -q -m topic; git rebase -q main 2>&1; git log --format=%s -3
echo dirty >> d1/f2; git stash -q; git status --short; git stash pop -q; git status --short; git checkout -q -- .
git worktree add -q ../wt main~1 2>&1; git worktree list | wc -l; git -C ../wt status --short | wc -l; git worktree remove ../wt
git grep -c '^7 ' -- d7 | wc -l; git diff main~2 main --stat | tail -1; git archive HEAD | tar t | wc -l; git blame d1/f1 | wc -l
git checkout -q main; git cherry-pick topic 2>&1 | head -1 | cut -c1-20; git tag -a v1 -m v1; git describe; git bisect start -q HEAD HEAD~4 2>&1 | tail -1; git bisect reset -q 2>&1
git -C ../clone pull -q 2>&1; git -C ../clone log --format=%s -1; git repack -adq; git prune; git clean -qfdx; git status --short | wc -l
git config core.x y; git config core.x; git bundle create -q b HEAD 2>&1; git bundle verify -q b 2>&1 | tail -1; git submodule status; git reset -q --hard HEAD~2; git reflog | wc -l
