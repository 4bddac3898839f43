// What a role may do, as the studio has it (rostra/space/grants.py): the page hides what would be refused.

const RANK = { speaker: 1, cohost: 2, host: 3, owner: 4 };

export const rights = (role) => ({
  direct: RANK[role] >= 2,
  moderate: RANK[role] >= 2,
  hear: RANK[role] >= 2,
  edit: RANK[role] >= 3,
  share: RANK[role] >= 3,
  approve: RANK[role] >= 3,
});

export const ROLE = { owner: 'role.owner', host: 'role.host', cohost: 'role.cohost', speaker: 'role.speaker' };
